#include "formats/checkpoint.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "formats/testing/safetensors_writer.h"
#include "formats/weight_files.h"

namespace cohort::formats {
namespace {

namespace fs = std::filesystem;
using testing::Bytes;
using testing::write_file;
using testing::Writer;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "cohort-formats-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

constexpr const char* kAffine4 = R"({"quantization": {"group_size": 32, "bits": 4}})";

Writer quantized(std::string_view prefix, const Shape& weight, const Shape& scales) {
  Writer writer;
  writer.add(std::string(prefix) + ".weight", DType::kU32, weight);
  writer.add(std::string(prefix) + ".scales", DType::kBF16, scales);
  return writer.add(std::string(prefix) + ".biases", DType::kBF16, scales);
}

std::string matrix_error(std::string_view config, const Writer& writer, std::string_view prefix) {
  const Bytes file = writer.finish();
  const auto checkpoint = Checkpoint::from_memory(config, {file});
  if (!checkpoint) return checkpoint.error().message;
  const auto matrix = checkpoint->matrix(prefix);
  return matrix ? "no error" : matrix.error().message;
}

TEST(Checkpoint, OpensASingleFileAndAFolder) {
  TemporaryFolder folder;
  const float values[] = {1, 2, 3, 4, 5, 6};
  write_file(folder.path() / "config.json", R"({"model_type": "llama"})");
  write_file(folder.path() / "model.safetensors",
             Writer().add("w.weight", {2, 3}, values).finish());
  for (const fs::path& path : {folder.path(), folder.path() / "model.safetensors"}) {
    const auto checkpoint = Checkpoint::open(path);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    EXPECT_EQ(checkpoint->config()["model_type"], "llama");
    EXPECT_EQ(checkpoint->names(), std::vector<std::string>{"w.weight"});
    EXPECT_EQ(checkpoint->size_bytes(), 24u);
    const auto matrix = checkpoint->matrix("w");
    ASSERT_TRUE(matrix);
    float row[3];
    checkpoint->release_pages(matrix->weight);
    dequantize_row(*matrix, 0, 1, row);
    EXPECT_EQ(row[2], 6.0f);
  }
}

TEST(Checkpoint, JoinsTheFilesOfAnIndex) {
  TemporaryFolder folder;
  write_file(folder.path() / "config.json", "{}");
  write_file(folder.path() / "one.safetensors", Writer().add("a", DType::kF32, {4}).finish());
  write_file(folder.path() / "two.safetensors", Writer().add("b", DType::kU8, {4}).finish());
  write_file(folder.path() / kIndexFile,
             R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})");
  const auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_NE(checkpoint->find("a"), nullptr);
  EXPECT_EQ(checkpoint->find("c"), nullptr);
  EXPECT_EQ(checkpoint->size_bytes(), 20u);

  const auto headers = read_weight_headers(folder.path());
  ASSERT_TRUE(headers);
  ASSERT_EQ(headers->size(), 2u);
  EXPECT_EQ((*headers)[1].file, "two.safetensors");
  EXPECT_EQ(total_bytes(*headers), 20u);
}

TEST(Checkpoint, AnIndexThatLiesIsRefused) {
  TemporaryFolder folder;
  write_file(folder.path() / "config.json", "{}");
  write_file(folder.path() / "one.safetensors", Writer().add("a", DType::kF32, {4}).finish());
  write_file(folder.path() / "two.safetensors", Writer().add("a", DType::kF32, {4}).finish());
  const auto error_with = [&](std::string_view index) {
    write_file(folder.path() / kIndexFile, index);
    const auto checkpoint = Checkpoint::open(folder.path());
    return checkpoint ? "no error" : checkpoint.error().message;
  };
  const auto has = [](const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(has(error_with(R"({"weight_map": {"a": "gone.safetensors"}})"),
                  "lists gone.safetensors, which is missing"));
  EXPECT_TRUE(has(error_with(R"({"weight_map": {"b": "one.safetensors"}})"),
                  "tensor 'b' is not in one.safetensors"));
  EXPECT_TRUE(has(error_with(R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})"),
                  "tensor 'a' is in one.safetensors and in two.safetensors"));
  EXPECT_TRUE(has(error_with(R"({"weight_map": {"a": "../one.safetensors"}})"), "is no file name"));
  EXPECT_TRUE(has(error_with(R"({"weight_map": {"a": 3}})"), "weight_map.a: expected a string"));
  EXPECT_TRUE(has(error_with("{}"), "weight_map is empty"));
}

TEST(Checkpoint, SaysWhatIsMissing) {
  TemporaryFolder folder;
  EXPECT_EQ(Checkpoint::open(folder.path() / "nowhere").error().code, Code::kNotFound);
  EXPECT_EQ(Checkpoint::open(folder.path()).error().code, Code::kNotFound);
  write_file(folder.path() / "config.json", "{}");
  const auto none = Checkpoint::open(folder.path());
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("holds no model*.safetensors"), std::string::npos);
  write_file(folder.path() / "model.safetensors", Writer().add("a", DType::kF32, {4}).finish());
  const auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint);
  EXPECT_NE(checkpoint->tensor("lost").error().message.find("tensor 'lost' is missing"),
            std::string::npos);
}

TEST(Checkpoint, AnEmptyFileIsRefused) {
  TemporaryFolder folder;
  write_file(folder.path() / "config.json", "{}");
  write_file(folder.path() / "model.safetensors", "");
  EXPECT_EQ(Checkpoint::open(folder.path()).error().code, Code::kDataLoss);
}

TEST(Checkpoint, RefusesAbsurdSizesByKey) {
  for (const char* text : {R"({"hidden_size": 1e15})", R"({"num_hidden_layers": -1})",
                           R"({"vocab_size": 99999999999999})", R"({"num_attention_heads": 0})",
                           R"({"text_config": {"hidden_size": 0}})"}) {
    const auto checkpoint = Checkpoint::from_memory(text, {});
    ASSERT_FALSE(checkpoint) << text;
    EXPECT_EQ(checkpoint.error().code, Code::kInvalidArgument);
    const std::string_view key = std::string_view(text).substr(2, 6);
    EXPECT_NE(checkpoint.error().message.find(key), std::string::npos)
        << checkpoint.error().message;
  }
}

TEST(Checkpoint, ConfigThatIsNoJsonIsRefused) {
  EXPECT_FALSE(Checkpoint::from_memory("{", {}));
  EXPECT_FALSE(Checkpoint::from_memory("[]", {}));
  EXPECT_FALSE(Checkpoint::from_memory(std::string(100000, '['), {}));
}

TEST(CheckpointMatrix, KnowsItsShapeInValues) {
  const Bytes file = quantized("w", {6, 8}, {6, 2}).finish();
  const auto checkpoint = Checkpoint::from_memory(kAffine4, {file});
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto matrix = checkpoint->matrix("w");
  ASSERT_TRUE(matrix) << matrix.error().message;
  EXPECT_EQ(matrix->rows, 6);
  EXPECT_EQ(matrix->columns, 64);
  EXPECT_EQ(matrix->experts, 0);
  EXPECT_EQ(matrix->format, (QuantFormat{QuantMode::kAffine, 4, 32}));
}

TEST(CheckpointMatrix, MayHaveAnExpertAxis) {
  const Bytes file = quantized("w", {5, 6, 8}, {5, 6, 2}).finish();
  const auto matrix = Checkpoint::from_memory(kAffine4, {file})->matrix("w");
  ASSERT_TRUE(matrix) << matrix.error().message;
  EXPECT_EQ(matrix->experts, 5);
  EXPECT_EQ(matrix->rows, 6);
}

TEST(CheckpointMatrix, IsPlainWhereThereAreNoScales) {
  const Writer writer = Writer().add("w.weight", DType::kBF16, {6, 8});
  EXPECT_EQ(matrix_error(kAffine4, writer, "w"), "no error");
}

TEST(CheckpointMatrix, MustAgreeWithTheQuantizationBlock) {
  const std::string shapes =
      "built-in model: tensor 'w.scales': BF16 [6, 1] does not fit affine with 4 "
      "bits in groups of 32 (weight U32 [6, 8])";
  EXPECT_EQ(matrix_error(kAffine4, quantized("w", {6, 8}, {6, 1}), "w"), shapes);
  EXPECT_NE(matrix_error(kAffine4, quantized("w", {6, 7}, {6, 2}), "w"), "no error");
  EXPECT_NE(matrix_error(R"({"quantization": {"bits": 3}})", quantized("w", {6, 7}, {6, 1}), "w"),
            "no error");
  EXPECT_NE(
      matrix_error(R"({"quantization": {"mode": "mxfp4"}})", quantized("w", {6, 8}, {6, 2}), "w"),
      "no error");
  EXPECT_NE(matrix_error("{}", quantized("w", {6, 8}, {6, 2}), "w").find("says nothing of it"),
            std::string::npos);
  EXPECT_NE(matrix_error(R"({"quantization": {"bits": 4, "w": false}})",
                         quantized("w", {6, 8}, {6, 2}), "w")
                .find("says nothing of it"),
            std::string::npos);
}

TEST(CheckpointMatrix, NamesScalesThatAreMissing) {
  const Writer words = Writer().add("w.weight", DType::kU32, {6, 8});
  EXPECT_NE(matrix_error(kAffine4, words, "w").find("'w.weight' is U32 and has no scales"),
            std::string::npos);
  EXPECT_NE(matrix_error(R"({"quantization": {"bits": 4, "w": {"bits": 4}}})", words, "w")
                .find("tensor 'w.scales' is missing"),
            std::string::npos);
}

TEST(CheckpointMatrix, IsNotAVector) {
  const Writer writer = Writer().add("w.weight", DType::kF32, {6});
  EXPECT_NE(matrix_error("{}", writer, "w").find("shape [6] is not a matrix"), std::string::npos);
}

}  // namespace
}  // namespace cohort::formats

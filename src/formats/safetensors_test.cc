#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include "formats/testing/safetensors_writer.h"

namespace cohort::formats {
namespace {

using testing::Bytes;
using testing::raw_safetensors;
using testing::Writer;

Result<std::vector<TensorInfo>> parse(const Bytes& file) {
  return parse_safetensors_header(file, file.size(), "m.safetensors");
}

std::string error_of(const Bytes& file) {
  const auto parsed = parse(file);
  return parsed ? "no error" : parsed.error().message;
}

TEST(Safetensors, ListsTensorsByOffset) {
  const float values[] = {1, 2, 3, 4, 5, 6};
  const Bytes file = Writer()
                         .add("b", {2, 3}, values)
                         .add("a", DType::kBF16, {4})
                         .add("empty", DType::kU8, {0})
                         .finish();
  const auto tensors = parse(file);
  ASSERT_TRUE(tensors) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 3u);
  EXPECT_EQ((*tensors)[0].name, "b");
  EXPECT_EQ((*tensors)[0].shape, Shape({2, 3}));
  EXPECT_EQ((*tensors)[0].dtype, DType::kF32);
  EXPECT_EQ(load<float>(file.data() + (*tensors)[0].begin + 4), 2.0f);
  EXPECT_EQ((*tensors)[1].size_bytes(), 8u);
  EXPECT_EQ((*tensors)[2].size_bytes(), 0u);
}

TEST(Safetensors, KnowsEveryDtype) {
  for (const char* name : {"F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "U8", "I8",
                           "BOOL", "U16", "I16", "U32", "I32", "U64", "I64"}) {
    const DType dtype = *parse_dtype(name);
    EXPECT_TRUE(parse(Writer().add("t", dtype, {3, 5}).finish())) << name;
  }
}

TEST(Safetensors, IgnoresMetadataAndAcceptsSpacesBehindTheHeader) {
  EXPECT_TRUE(parse(raw_safetensors(R"({"__metadata__":{"format":"mlx"}}   )", 0)));
}

TEST(Safetensors, RefusesAFileShorterThanItsHeader) {
  EXPECT_EQ(error_of(Bytes(3)), "m.safetensors: 3 bytes are too few for a safetensors file");
  Bytes file = Writer().add("a", DType::kF32, {4}).finish();
  store<uint64_t>(file.data(), 5000);
  EXPECT_NE(error_of(file).find("a header of 5000 bytes does not fit"), std::string::npos);
}

TEST(Safetensors, RefusesAnOversizedHeaderWithoutReadingIt) {
  Bytes file(64);
  store<uint64_t>(file.data(), kMaxSafetensorsHeaderBytes + 1);
  EXPECT_NE(error_of(file).find("over the limit of 100000000"), std::string::npos);
  store<uint64_t>(file.data(), ~uint64_t{0});
  EXPECT_NE(error_of(file).find("over the limit"), std::string::npos);
}

TEST(Safetensors, RefusesEveryTruncationOfAGoodFile) {
  const Bytes file = Writer().add("a", DType::kF32, {4}).add("b", DType::kU8, {3}).finish();
  for (size_t size = 0; size < file.size(); ++size) {
    const Bytes part(file.begin(), file.begin() + static_cast<ptrdiff_t>(size));
    const auto parsed = parse(part);
    ASSERT_FALSE(parsed) << size;
    EXPECT_EQ(parsed.error().code, Code::kDataLoss);
  }
}

struct Lie {
  const char* name;
  const char* header;  // of a file with 16 bytes of data
  const char* error;

  friend void PrintTo(const Lie& lie, std::ostream* out) { *out << lie.name; }
};

class SafetensorsLies : public ::testing::TestWithParam<Lie> {};

TEST_P(SafetensorsLies, AreNamed) {
  const std::string error = error_of(raw_safetensors(GetParam().header, 16));
  EXPECT_NE(error.find(GetParam().error), std::string::npos) << error;
}

INSTANTIATE_TEST_SUITE_P(
    All, SafetensorsLies,
    ::testing::Values(
        Lie{"not_json", "{nope", "m.safetensors: the header is not a JSON object"},
        Lie{"array", "[1]", "the header is not a JSON object"},
        Lie{"tensor_is_number", R"({"a":1})", "tensor 'a': is not described by an object"},
        Lie{"no_dtype", R"({"a":{"shape":[4],"data_offsets":[0,16]}})", "has no dtype"},
        Lie{"unknown_dtype", R"({"a":{"dtype":"F4","shape":[4],"data_offsets":[0,16]}})",
            "dtype 'F4' is unknown"},
        Lie{"no_shape", R"({"a":{"dtype":"F32","data_offsets":[0,16]}})", "has no shape"},
        Lie{"negative", R"({"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}})",
            "dimension 0 of its shape is not a size"},
        Lie{"fraction", R"({"a":{"dtype":"F32","shape":[4.5],"data_offsets":[0,16]}})",
            "dimension 0 of its shape is not a size"},
        Lie{"many_dimensions",
            R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,4],"data_offsets":[0,16]}})",
            "has 6 dimensions"},
        Lie{"one_offset", R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[16]}})",
            "data_offsets are not two sizes"},
        Lie{"negative_offset", R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[-1,15]}})",
            "data_offsets are not two sizes"},
        Lie{"backwards", R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}})",
            "bytes 16 to 0 lie outside"},
        Lie{"beyond_the_end", R"({"a":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}})",
            "bytes 0 to 20 lie outside of the file's 16 bytes"},
        Lie{"size_lies", R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}})",
            "shape [3] of F32 does not take the 16 bytes"},
        Lie{"overflow",
            R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
            "does not take the 0 bytes"},
        Lie{"overlap",
            R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
            "tensor 'b': bytes"},
        Lie{"duplicate",
            R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
            "tensor 'a': is listed twice"}),
    [](const auto& lie) { return lie.param.name; });

// Whatever a flipped byte says, an accepted tensor lies inside the file and has the size its shape says.
TEST(Safetensors, SurvivesEveryFlippedByteOfAHeader) {
  const Bytes file = Writer().add("a", DType::kF32, {4}).add("bc", DType::kU8, {3, 5}).finish();
  for (size_t at = 0; at + 31 < file.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      Bytes broken = file;
      broken[at] ^= static_cast<std::byte>(1 << bit);
      const auto tensors = parse(broken);
      if (!tensors) continue;
      for (const TensorInfo& tensor : *tensors) {
        ASSERT_LE(tensor.begin, tensor.end);
        ASSERT_LE(tensor.end, broken.size());
        ASSERT_EQ(TensorView({nullptr, tensor.dtype, tensor.shape}).size_bytes(),
                  tensor.size_bytes());
      }
    }
  }
}

}  // namespace
}  // namespace cohort::formats

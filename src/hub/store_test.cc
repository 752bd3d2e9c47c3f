#include "hub/store.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace cohort::hub {
namespace {

namespace fs = std::filesystem;

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    std::string name = (fs::temp_directory_path() / "cohort-store-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  ~StoreTest() override { fs::remove_all(folder_); }

  Store store() const {
    return Store(
        {.data_dir = folder_ / "data", .models_dirs = {folder_ / "more"}, .use_hub_cache = false});
  }

  static void write(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }

  static void make_model(const fs::path& folder) {
    write(folder / "config.json", R"({"model_type":"llama","num_hidden_layers":2})");
    write(folder / "model.safetensors", "0123456789");
  }

  fs::path folder_;
};

TEST_F(StoreTest, TheBuiltInModelIsAlwaysThere) {
  const auto models = store().list();
  ASSERT_EQ(models.size(), 1u);
  EXPECT_EQ(models[0].name, "demo");
  EXPECT_EQ(models[0].card.family, "llama");
  EXPECT_TRUE(store().find("demo"));
}

TEST_F(StoreTest, ARepositoryIsFoundInTheOwnFolderAndInFurtherOnes) {
  make_model(folder_ / "data/models/owner--one");
  make_model(folder_ / "more/owner/two");
  const auto one = store().find("owner/one");
  ASSERT_TRUE(one) << one.error().message;
  EXPECT_EQ(one->size_bytes, 10u);
  EXPECT_TRUE(one->removable);
  const auto two = store().find("owner/two");
  ASSERT_TRUE(two) << two.error().message;
  EXPECT_FALSE(two->removable);
}

TEST_F(StoreTest, AnUnfinishedModelIsListedAsSuchAndNotFound) {
  make_model(folder_ / "data/models/owner--half");
  write(folder_ / "data/models/owner--half/model-2.safetensors.partial", "");
  EXPECT_FALSE(store().find("owner/half"));
  EXPECT_FALSE(store().list().at(1).complete);
}

TEST_F(StoreTest, AnIndexSaysWhichFilesMustBeThere) {
  const fs::path model = folder_ / "data/models/owner--sharded";
  make_model(model);
  write(model / "model.safetensors.index.json",
        R"({"weight_map":{"a":"model.safetensors","b":"model-2.safetensors"}})");
  EXPECT_FALSE(store().find("owner/sharded"));
  write(model / "model-2.safetensors", "xy");
  EXPECT_TRUE(store().find("owner/sharded"));
}

TEST_F(StoreTest, UnknownNamesSayWhatToDo) {
  EXPECT_NE(store().find("qwen3-0.6").error().message.find("did you mean qwen3-0.6b"),
            std::string::npos)
      << store().find("qwen3-0.6").error().message;
  EXPECT_NE(store().find("owner/absent").error().message.find("cohort pull"), std::string::npos);
  EXPECT_NE(store().find("/no/such/folder").error().message.find("/no/such/folder"),
            std::string::npos);
}

TEST_F(StoreTest, NamesCannotLeaveTheStore) {
  for (const char* name : {"../x", "a/../../b", "a/..", "owner/na me"}) {
    const auto parsed = parse_model_name(name);
    EXPECT_FALSE(parsed && parsed->kind == ModelName::Kind::kRepository) << name;
  }
}

TEST_F(StoreTest, ImportCopiesAFolderAndRemoveDeletesOnlyWhatIsOurs) {
  make_model(folder_ / "elsewhere/mine");
  uint64_t last = 0;
  const auto imported =
      store().import(folder_ / "elsewhere/mine", [&](uint64_t done, uint64_t) { last = done; });
  ASSERT_TRUE(imported) << imported.error().message;
  EXPECT_GT(last, 10u);
  EXPECT_TRUE(store().find("mine"));
  EXPECT_FALSE(store().import(folder_ / "elsewhere/mine", [](uint64_t, uint64_t) {}));
  EXPECT_TRUE(store().remove("mine"));
  EXPECT_FALSE(store().find("mine"));
  EXPECT_TRUE(fs::exists(folder_ / "elsewhere/mine/config.json"));
  make_model(folder_ / "more/theirs");
  EXPECT_EQ(store().remove("theirs").error().code, Code::kInvalidArgument);
  EXPECT_EQ(store().remove("nobody/knows").error().code, Code::kNotFound);
}

TEST_F(StoreTest, ADiskThatIsTooSmallIsSaidBeforehand) {
  const auto checked = check_free_space(folder_, 1ull << 60);
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().message.find("free"), std::string::npos);
  EXPECT_TRUE(check_free_space(folder_ / "not/yet/there", 1));
}

}  // namespace
}  // namespace cohort::hub

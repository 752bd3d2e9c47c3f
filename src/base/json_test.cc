#include "base/json.h"

#include <gtest/gtest.h>

#include "base/sampling.h"

namespace cohort {
namespace {

struct Inner {
  int32_t size = 7;
  std::optional<std::string> name;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("size", size);
    visit("name", name);
  }
};

struct Outer {
  std::vector<Inner> items;
  std::map<int32_t, float> bias;
  uint8_t small = 0;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("items", items);
    visit("bias", bias);
    visit("small", small);
  }
};

Result<Outer> read(std::string_view text) { return read_json<Outer>(text); }

TEST(Json, AStructReadsItsFieldsAndKeepsDefaults) {
  const auto outer = read(R"({"items":[{"name":"a"},{"size":9}],"bias":{"5":-1.5},"unknown":{}})");
  ASSERT_TRUE(outer) << outer.error().message;
  EXPECT_EQ(outer->items[0].size, 7);
  EXPECT_EQ(outer->items[0].name, "a");
  EXPECT_EQ(outer->items[1].size, 9);
  EXPECT_EQ(outer->bias.at(5), -1.5f);
}

TEST(Json, AWrongTypeIsRefusedWithItsPath) {
  const auto outer = read(R"({"items":[{},{"size":"big"}]})");
  ASSERT_FALSE(outer);
  EXPECT_EQ(outer.error().code, Code::kUnprocessable);
  EXPECT_EQ(outer.error().message, "items[1].size: expected an integer, got a string");
}

TEST(Json, IntegersAreCheckedForRange) {
  EXPECT_FALSE(read(R"({"small":256})"));
  EXPECT_FALSE(read(R"({"small":-1})"));
  EXPECT_FALSE(read(R"({"small":1.5})"));
  EXPECT_EQ(read(R"({"small":255})")->small, 255);
  EXPECT_EQ(read(R"({"small":2.0})")->small, 2);
}

TEST(Json, MalformedTextNamesTheByte) {
  const auto value = parse_json(R"({"a": tru})");
  ASSERT_FALSE(value);
  EXPECT_NE(value.error().message.find("byte"), std::string::npos);
}

TEST(Json, DeepNestingIsRefusedWithoutRecursion) {
  const std::string deep(1'000'000, '[');
  const auto value = parse_json(deep);
  ASSERT_FALSE(value);
  EXPECT_NE(value.error().message.find("deeper than 64"), std::string::npos);
}

TEST(Json, AStructSurvivesTheRoundTrip) {
  Sampling sampling;
  sampling.temperature = 0.25f;
  sampling.logit_bias = {{3, 1.0f}, {9, -100.0f}};
  sampling.seed = 0xffffffffffffffffull;
  const auto back = from_json<Sampling>(parse_json(dump_json(to_json(sampling))).value());
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, sampling);
}

}  // namespace
}  // namespace cohort

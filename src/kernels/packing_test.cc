#include "kernels/packing.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/test_matrix.h"

namespace cohort::kernels {
namespace {

class Packing : public testing::TestWithParam<TestFormat> {};

std::vector<float> reference_row(const MatrixView& view, int64_t expert, int64_t row) {
  std::vector<float> values(static_cast<size_t>(view.columns));
  dequantize_row(view, expert, row, values.data());
  return values;
}

std::vector<float> packed_row(const PackedMatrix& matrix, int64_t row) {
  std::vector<float> values(static_cast<size_t>(matrix.columns));
  dequantize_packed_row(matrix, row, values.data());
  return values;
}

int64_t smallest_columns(const TestFormat& format) { return std::max(format.quant.group_size, 1); }

TEST_P(Packing, EveryValueComesBackExactly) {
  const int64_t step = smallest_columns(GetParam());
  for (const int64_t rows : {1, 15, 16, 33}) {
    for (const int64_t columns : {step, 5 * step, 384 / step * step}) {
      const TestMatrix source(GetParam(), rows, columns, 1);
      const OwnedPacked packed = pack_all(source.view());
      for (int64_t row = 0; row < rows; ++row) {
        ASSERT_EQ(packed_row(packed.matrix, row), reference_row(source.view(), 0, row))
            << rows << " x " << columns;
      }
    }
  }
}

TEST_P(Packing, ARangeOfRowsAndColumnsOfAnExpertIsThatRange) {
  const int64_t step = smallest_columns(GetParam());
  const TestMatrix source(GetParam(), 40, 6 * step, 2, 3);
  const Range rows = {7, 20}, columns = {2 * step, 3 * step};
  const PackedFormat format = packed_format(source.view());
  AlignedBytes bytes(packed_size_bytes(format, rows.count, columns.count));
  pack_rows(source.view(), 2, rows, columns, bytes.data());
  const PackedMatrix packed = {format, rows.count, columns.count, bytes.data()};
  for (int64_t row = 0; row < rows.count; ++row) {
    const std::vector<float> whole = reference_row(source.view(), 2, rows.first + row);
    const std::vector<float> part(whole.begin() + columns.first,
                                  whole.begin() + columns.first + columns.count);
    ASSERT_EQ(packed_row(packed, row), part) << row;
  }
}

TEST_P(Packing, PanelsPackedApartAreTheSameBytes) {
  const int64_t columns = 4 * smallest_columns(GetParam());
  const TestMatrix source(GetParam(), 50, columns, 3);
  const OwnedPacked whole = pack_all(source.view());
  const size_t size = packed_size_bytes(whole.matrix.format, 50, columns);
  AlignedBytes parts(size);
  const size_t first_panels = packed_size_bytes(whole.matrix.format, 32, columns);
  pack_rows(source.view(), 0, {32, 18}, {0, columns}, parts.data() + first_panels);
  pack_rows(source.view(), 0, {0, 32}, {0, columns}, parts.data());
  EXPECT_TRUE(std::equal(parts.data(), parts.data() + size, whole.bytes.data()));
}

TEST_P(Packing, NoMoreBytesThanTheCheckpointHas) {
  const TestMatrix source(GetParam(), 64, 1024, 4);
  const MatrixView& view = source.view();
  size_t checkpoint = view.weight.size_bytes();
  if (view.format.mode != QuantMode::kNone) checkpoint += view.scales.size_bytes();
  if (view.format.mode == QuantMode::kAffine) checkpoint += view.biases.size_bytes();
  EXPECT_EQ(packed_size_bytes(packed_format(view), 64, 1024), checkpoint);
}

INSTANTIATE_TEST_SUITE_P(Formats, Packing, testing::ValuesIn(test_formats()),
                         [](const auto& test) { return test.param.name(); });

}  // namespace
}  // namespace cohort::kernels

#include "backend/cpu/activations.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::backend {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kMinChunkBytes = size_t{4} << 20;
constexpr int64_t kRowFloats = kAlignment / sizeof(float);

}  // namespace

void* Arena::allocate(size_t size_bytes) {
  size_bytes = round_up(std::max<size_t>(size_bytes, 1), kAlignment);
  while (top_.chunk < chunks_.size() &&
         top_.offset + size_bytes > chunks_[top_.chunk].size_bytes()) {
    top_ = {top_.chunk + 1, 0};
  }
  if (top_.chunk == chunks_.size()) {
    Result<Pages> chunk =
        Pages::allocate(std::max(round_up(size_bytes, kMinChunkBytes), kMinChunkBytes));
    COHORT_CHECK(
        chunk
            .has_value());  // the OS refuses address space, not memory: nothing is left to work with
    chunks_.push_back(std::move(*chunk));
  }
  void* at = chunks_[top_.chunk].data() + top_.offset;
  top_.offset += size_bytes;
  return at;
}

size_t Arena::size_bytes() const {
  size_t size = 0;
  for (const Pages& chunk : chunks_) size += chunk.size_bytes();
  return size;
}

Tensor Activations::make(int32_t rows, int32_t columns) {
  COHORT_CHECK(rows >= 0 && columns > 0);
  const int64_t stride = round_up<int64_t>(columns, kRowFloats);
  Slot& slot = slots_.emplace_back();
  slot.before = arena_.mark();
  slot.rows = {arena_.make<float>(rows * stride), stride, rows, columns};
  return {mark() - 1, rows, 0, columns};
}

Rows Activations::rows(Tensor x) const {
  COHORT_CHECK(x.id >= 0 && x.id < mark());
  const Rows& whole = slots_[x.id].rows;
  COHORT_CHECK(whole.data != nullptr && x.rows == whole.rows);
  COHORT_CHECK(x.first_column >= 0 && x.first_column + x.columns <= whole.columns);
  return {whole.data + x.first_column, whole.stride, x.rows, x.columns};
}

Routing Activations::make_routing(int32_t rows, int32_t top_k) {
  Slot& slot = slots_.emplace_back();
  slot.before = arena_.mark();
  const int64_t choices = int64_t{rows} * top_k;
  slot.routes = {arena_.make<int32_t>(choices), arena_.make<float>(choices), rows, top_k};
  return {mark() - 1};
}

Routes Activations::routes(Routing routing) const {
  COHORT_CHECK(routing.id >= 0 && routing.id < mark());
  const Routes& routes = slots_[routing.id].routes;
  COHORT_CHECK(routes.experts != nullptr);
  return routes;
}

void Activations::drop_from(int32_t from) {
  COHORT_CHECK(from >= 0 && from <= mark());
  if (from == mark()) return;
  arena_.reset(slots_[from].before);
  slots_.resize(from);
}

}  // namespace cohort::backend

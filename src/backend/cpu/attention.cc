#include "backend/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::backend {
namespace {

// The softmax of a row is built over stretches of this many positions, whose partial results are then joined in order. So
// a long context can be shared out among workers, and the bits do not tell whether it was.
constexpr int32_t kStretch = 512;
static_assert(kStretch % (kPageTokens * kernels::kAttentionBlocks) == 0);

// Partial results that wait to be joined may take this much; else each worker goes through its tiles' stretches in turn.
constexpr int64_t kMaxPartialFloats = int64_t{2} << 20;

constexpr float kNothing = -std::numeric_limits<float>::infinity();

// Softmax of some rows so far (kernels::AttentionTile says what the numbers mean).
struct Partial {
  float* max = nullptr;
  float* sum = nullptr;
  float* out = nullptr;  // [rows][value_dim]

  static int64_t floats(int64_t rows, int64_t value_dim) { return rows * (value_dim + 2); }
  static Partial at(float* room, int64_t rows) { return {room, room + rows, room + 2 * rows}; }
  void clear(int64_t rows, int64_t value_dim) const {
    std::fill_n(max, rows, kNothing);
    std::fill_n(sum, rows, 0.0f);
    std::fill_n(out, rows * value_dim, 0.0f);
  }
};

// Query rows of one sequence that share a KV head: items [first, first + count), where item i is head i % group of the
// sequence's row i / group.
struct Tile {
  const SequenceRun* run = nullptr;
  int32_t kv_head = 0;
  int32_t first = 0;
  int32_t count = 0;
  int32_t first_stretch = 0;
  int32_t stretches = 0;
  int64_t first_task = 0;     // when stretches are tasks of their own
  float* partials = nullptr;  // of its stretches, then
};

// A tile at work: its queries, also in 8 bits or bf16 if they are wanted so, and what becomes of it.
struct Head {
  const Tile* tile = nullptr;
  float* queries = nullptr;  // [rows][key_dim]
  kernels::QuantizedGroup* quantized = nullptr;
  std::byte* bf16 = nullptr;
  Partial total, part;
};

constexpr int64_t kGroupBytes = sizeof(kernels::QuantizedGroup);

// Many rows of one sequence go by way of bf16 where that is multiplied faster, unless the cache keeps all bits.
bool takes_bf16(const Compute& compute, const AttentionStep& step) {
  return compute.math != Math::kF32 && step.cache->format() != kernels::KvFormat::kF32 &&
         compute.kernels.vector.attention.pack_bf16 != nullptr;
}

// As with the products of a step (products.cc): few rows are rounded to 8 bits, many only if that is asked for
// and bf16 is not to be had.
bool takes_dots(const Compute& compute, const AttentionStep& step) {
  if (step.cache->format() != kernels::KvFormat::kQ8 || step.layer->value_in_key()) return false;
  if (compute.math == Math::kFast || takes_bf16(compute, step))
    return step.q.rows <= kernels::kMaxDecodeRows;
  return compute.math == Math::kInt8;
}

class Run {
 public:
  Run(const Compute& compute, const AttentionStep& step)
      : compute_(compute),
        step_(step),
        spec_(step.layer->spec),
        group_(step.heads / spec_.kv_heads),
        value_dim_(step.layer->value_columns()),
        by_dots_(takes_dots(compute, step)),
        in_bf16_(!by_dots_ && takes_bf16(compute, step)),
        scratch_(compute.arena) {}

  void operator()() {
    plan_tiles();
    make_rooms();
    const bool share_stretches = make_partials();
    if (!share_stretches) {
      compute_.pool.for_each(
          static_cast<int64_t>(tiles_.size()), heads_at_once(),
          [&](int64_t first, int64_t count, int worker) {
            attend_in_turn(tiles_.subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
                           room_of(worker));
          });
      return;
    }
    compute_.pool.for_each(tasks_, 1, [&](int64_t first, int64_t count, int worker) {
      for (int64_t task = first; task < first + count; ++task) attend_task(task, room_of(worker));
    });
    each_tile([&](const Tile& tile, float* room) { join_partials(tile, room); });
  }

 private:
  // ---- planning ----

  void plan_tiles() {
    int64_t items = 0, count = 0;
    for (const SequenceRun& run : step_.plan->runs) items += int64_t{run.rows} * step_.heads;
    fair_items_ = divide_up<int64_t>(items, compute_.pool.workers());
    for (const SequenceRun& run : step_.plan->runs)
      count += divide_up(run.rows * group_, items_a_tile(run)) * spec_.kv_heads;
    Tile* tile = scratch_.make<Tile>(count);
    std::uninitialized_value_construct_n(tile, count);
    tiles_ = {tile, static_cast<size_t>(count)};
    for (const SequenceRun& run : step_.plan->runs) {
      const int32_t of_head = run.rows * group_, most = items_a_tile(run);
      for (int32_t head = 0; head < spec_.kv_heads; ++head) {
        for (int32_t first = 0; first < of_head; first += most)
          *tile++ = make_tile(run, head, first, std::min(most, of_head - first));
      }
    }
  }

  bool in_bf16(const SequenceRun& run) const {
    constexpr int32_t kFewest = 16;
    return in_bf16_ && run.rows * group_ >= kFewest;
  }

  // As many as the kernel takes, so that a KV block serves many rows; fewer when there would be too few tiles for all
  // workers.
  int32_t items_a_tile(const SequenceRun& run) const {
    constexpr int64_t kFewest = 8;
    return static_cast<int32_t>(std::clamp(fair_items_, kFewest, most_items(in_bf16(run))));
  }
  static int64_t most_items(bool in_bf16) {
    return in_bf16 ? kernels::kMaxAttentionRowsBf16 : kernels::kMaxAttentionRows;
  }

  Tile make_tile(const SequenceRun& run, int32_t head, int32_t first, int32_t count) {
    const int32_t from = first_seen(run, first), to = position(run, first + count - 1);
    const int32_t stretch = from / kStretch;
    Tile tile{
        .run = &run, .kv_head = head, .first = first, .count = count, .first_stretch = stretch};
    tile.stretches = to / kStretch - stretch + 1;
    tile.first_task = tasks_;
    tasks_ += tile.stretches;
    partial_floats_ += tile.stretches * Partial::floats(count, value_dim_);
    return tile;
  }

  int32_t position(const SequenceRun& run, int32_t item) const {
    return run.first_position + item / group_;
  }
  int32_t first_seen(const SequenceRun& run, int32_t item) const {
    return step_.window > 0 ? std::max(0, position(run, item) - step_.window + 1) : 0;
  }
  int32_t row(const Tile& tile, int32_t i) const {
    return tile.run->first_row + (tile.first + i) / group_;
  }
  int32_t head(const Tile& tile, int32_t i) const {
    return tile.kv_head * group_ + (tile.first + i) % group_;
  }

  // The blocks of a page's heads lie side by side, and memory is read fastest in sequence. So the heads of a few rows are
  // taken through the pages together, as long as that leaves each worker some and each head of a run is one tile.
  int64_t heads_at_once() const {
    const auto tiles = static_cast<int64_t>(tiles_.size());
    if (tiles != static_cast<int64_t>(step_.plan->runs.size()) * spec_.kv_heads) return 1;
    int32_t most_rows = 1;
    for (const Tile& tile : tiles_) {
      if (in_bf16(*tile.run)) return 1;  // many rows
      most_rows = std::max(most_rows, tile.count);
    }
    int64_t most = 1;
    for (int32_t heads = 2; heads <= spec_.kv_heads; ++heads) {
      const bool fits =
          spec_.kv_heads % heads == 0 && heads * most_rows <= kernels::kMaxAttentionRows;
      if (fits && tiles / heads >= compute_.pool.workers()) most = heads;
    }
    return most;
  }

  // A worker's room, for so many rows of all heads at work together: packed queries, two partial results, the kernel's
  // scratch, the queries in 8 bits or bf16.
  void make_rooms() {
    const int64_t rows = most_items(in_bf16_);
    query_floats_ = rows * spec_.key_dim;
    scratch_at_ = query_floats_ + 2 * Partial::floats(rows, value_dim_);
    room_floats_ = scratch_at_ + static_cast<int64_t>(
                                     kernels::attention_scratch_floats(spec_.key_dim, value_dim_));
    rounded_at_ = room_floats_ = round_up<int64_t>(room_floats_, 16);
    room_floats_ += round_up<int64_t>(divide_up<int64_t>(rounded_bytes(rows), sizeof(float)), 16);
    rooms_ = scratch_.make<float>(room_floats_ * compute_.pool.workers());
  }
  int64_t rounded_bytes(int64_t rows) const {
    if (by_dots_) return rows * groups() * kGroupBytes;
    if (!in_bf16_) return 0;
    return static_cast<int64_t>(kernels::bf16_query_bytes(static_cast<int>(rows), spec_.key_dim));
  }
  int32_t groups() const { return kernels::kv_quant_groups(spec_.key_dim); }
  float* room_of(int worker) const { return rooms_ + worker * room_floats_; }

  // The tile's place in a room, in which tiles of `rows` rows together come before it; with its queries.
  Head place(const Tile& tile, int32_t rows, float* room) const {
    Head head{.tile = &tile, .queries = room + int64_t{rows} * spec_.key_dim};
    auto* rounded = reinterpret_cast<std::byte*>(room + rounded_at_) + rounded_bytes(rows);
    if (by_dots_) head.quantized = reinterpret_cast<kernels::QuantizedGroup*>(rounded);
    if (in_bf16(*tile.run)) head.bf16 = rounded;
    float* partials = room + query_floats_ + 2 * Partial::floats(rows, value_dim_);
    head.total = Partial::at(partials, tile.count);
    head.part = Partial::at(partials + Partial::floats(tile.count, value_dim_), tile.count);
    pack_queries(head);
    return head;
  }

  // Whether stretches are worth sharing out one by one, and room for their results if so.
  bool make_partials() {
    const auto tiles = static_cast<int64_t>(tiles_.size());
    constexpr int64_t kTilesAWorkerEnough = 4;
    if (compute_.pool.workers() == 1 || tiles >= kTilesAWorkerEnough * compute_.pool.workers())
      return false;
    if (tasks_ == tiles || partial_floats_ > kMaxPartialFloats) return false;
    float* at = scratch_.make<float>(partial_floats_);
    for (Tile& tile : tiles_) {
      tile.partials = at;
      at += tile.stretches * Partial::floats(tile.count, value_dim_);
    }
    return true;
  }

  template <class Body>
  void each_tile(Body&& body) {
    compute_.pool.for_each(static_cast<int64_t>(tiles_.size()), 1,
                           [&](int64_t first, int64_t count, int worker) {
                             for (int64_t i = first; i < first + count; ++i)
                               body(tiles_[i], room_of(worker));
                           });
  }

  // ---- tiles ----

  // One tile, or the same rows of several heads.
  void attend_in_turn(std::span<const Tile> tiles, float* room) {
    Head room_for[kernels::kMaxAttentionRows];
    const std::span<Head> heads(room_for, tiles.size());
    int32_t rows = 0;
    for (size_t i = 0; i < tiles.size(); rows += tiles[i++].count) {
      heads[i] = place(tiles[i], rows, room);
      heads[i].total.clear(tiles[i].count, value_dim_);
    }
    for (int32_t s = 0; s < tiles[0].stretches; ++s) {
      attend_stretch(heads, s, room + scratch_at_);
      for (const Head& head : heads) join(head.tile->count, head.part, head.total);
    }
    for (const Head& head : heads) finish(*head.tile, head.total);
  }

  void attend_task(int64_t task, float* room) {
    const auto after =
        std::upper_bound(tiles_.begin(), tiles_.end(), task,
                         [](int64_t t, const Tile& tile) { return t < tile.first_task; });
    const Tile& tile = *(after - 1);
    const auto s = static_cast<int32_t>(task - tile.first_task);
    Head head = place(tile, 0, room);
    head.part = partial(tile, s);
    attend_stretch({&head, 1}, s, room + scratch_at_);
  }

  void join_partials(const Tile& tile, float* room) {
    const Partial total = Partial::at(room, tile.count);
    total.clear(tile.count, value_dim_);
    for (int32_t s = 0; s < tile.stretches; ++s) join(tile.count, partial(tile, s), total);
    finish(tile, total);
  }

  Partial partial(const Tile& tile, int32_t stretch) const {
    return Partial::at(tile.partials + stretch * Partial::floats(tile.count, value_dim_),
                       tile.count);
  }

  void pack_queries(const Head& place) const {
    const Tile& tile = *place.tile;
    const int64_t dim = spec_.key_dim;
    for (int32_t i = 0; i < tile.count; ++i) {
      std::copy_n(step_.q.row(row(tile, i)) + head(tile, i) * dim, dim, place.queries + i * dim);
    }
    compute_.kernels.vector.scale(place.queries, step_.scale, tile.count * dim);
    if (place.bf16 != nullptr) {
      compute_.kernels.vector.attention.pack_bf16(place.queries, tile.count, spec_.key_dim,
                                                  place.bf16);
    }
    if (!by_dots_) return;
    for (int32_t i = 0; i < tile.count; ++i) {
      compute_.kernels.matmul.quantize_activation(place.queries + i * dim, dim, 1,
                                                  place.quantized + i * groups());
    }
  }

  // The stretch of all heads, each into its part.
  void attend_stretch(std::span<const Head> heads, int32_t stretch, float* scratch) const {
    const Tile& tile = *heads[0].tile;
    int32_t first[kernels::kMaxAttentionRowsBf16], last[kernels::kMaxAttentionRowsBf16];
    for (int32_t i = 0; i < tile.count; ++i) {
      first[i] = first_seen(*tile.run, tile.first + i);
      last[i] = position(*tile.run, tile.first + i);
    }
    for (const Head& head : heads) head.part.clear(tile.count, value_dim_);
    const kernels::AttentionTile rows{.format = step_.cache->format(),
                                      .rows = tile.count,
                                      .key_dim = spec_.key_dim,
                                      .value_dim = value_dim_,
                                      .value_in_key = step_.layer->value_in_key(),
                                      .first = first,
                                      .last = last,
                                      .scratch = scratch};
    const int32_t begin = std::max((tile.first_stretch + stretch) * kStretch, first[0]);
    const int32_t end =
        std::min((tile.first_stretch + stretch + 1) * kStretch - 1, last[tile.count - 1]);
    attend_pages(heads, rows, begin / kPageTokens, end / kPageTokens);
  }

  // Pages are taken in groups that begin at the same positions whatever the first page is, and a group by all heads before
  // the next.
  void attend_pages(std::span<const Head> heads, kernels::AttentionTile rows, int32_t first,
                    int32_t last) const {
    constexpr int32_t kGroup = kernels::kAttentionBlocks;
    for (int32_t p = first; p <= last;) {
      const int32_t end = std::min(last + 1, (p / kGroup + 1) * kGroup);
      const int32_t known = std::min(last + 1, end + kGroup);
      for (size_t h = 0; h < heads.size(); ++h) {
        const Head& head = heads[h];
        rows.queries = head.queries;
        rows.quantized_queries = head.quantized;
        rows.bf16_queries = head.bf16;
        rows.max = head.part.max;
        rows.sum = head.part.sum;
        rows.out = head.part.out;
        const std::byte* blocks[2 * kGroup];
        find_blocks(*head.tile, p, end, blocks);
        const bool more = h + 1 < heads.size();  // of this group
        const int32_t next = more ? p : end, next_end = more ? end : known;
        find_blocks(*heads[more ? h + 1 : 0].tile, next, next_end, blocks + (end - p));
        compute_.kernels.vector.attention.attend(rows, blocks, end - p, next_end - next,
                                                 p * kPageTokens);
      }
      p = end;
    }
  }

  void find_blocks(const Tile& tile, int32_t first, int32_t end, const std::byte** blocks) const {
    for (int32_t page = first; page < end; ++page) {
      *blocks++ = step_.cache->keys(tile.run->pages[page], *step_.layer, tile.kv_head);
    }
  }

  void join(int32_t rows, const Partial& part, const Partial& total) const {
    for (int32_t i = 0; i < rows; ++i) {
      if (part.max[i] == kNothing) continue;
      const float max = std::max(part.max[i], total.max[i]);
      const float old_factor = std::exp(total.max[i] - max), factor = std::exp(part.max[i] - max);
      total.max[i] = max;
      total.sum[i] = total.sum[i] * old_factor + part.sum[i] * factor;
      float* out = total.out + int64_t{i} * value_dim_;
      compute_.kernels.vector.scale(out, old_factor, value_dim_);
      compute_.kernels.vector.add_scaled(out, part.out + int64_t{i} * value_dim_, factor,
                                         value_dim_);
    }
  }

  void finish(const Tile& tile, const Partial& total) const {
    for (int32_t i = 0; i < tile.count; ++i) {
      float factor = 1.0f / total.sum[i];
      if (!step_.sinks.empty()) {
        const float sink = step_.sinks[head(tile, i)], max = std::max(total.max[i], sink);
        const float own = std::exp(total.max[i] - max);
        factor = own / (total.sum[i] * own + std::exp(sink - max));
      }
      float* to = step_.out.row(row(tile, i)) + int64_t{head(tile, i)} * value_dim_;
      std::copy_n(total.out + int64_t{i} * value_dim_, value_dim_, to);
      compute_.kernels.vector.scale(to, factor, value_dim_);
    }
  }

  const Compute& compute_;
  const AttentionStep& step_;
  const KvLayerSpec& spec_;
  const int32_t group_;
  const int32_t value_dim_;
  const bool by_dots_;  // in 8 bits
  const bool in_bf16_;  // runs of many rows
  Scratch scratch_;
  std::span<Tile> tiles_;
  int64_t fair_items_ = 0;  // a worker's
  int64_t tasks_ = 0;
  int64_t partial_floats_ = 0;
  int64_t query_floats_ = 0;
  int64_t scratch_at_ = 0;
  int64_t rounded_at_ = 0;
  int64_t room_floats_ = 0;
  float* rooms_ = nullptr;
};

}  // namespace

void append_kv(const Compute& compute, const AttentionStep& step) {
  const kernels::AttentionKernels& kernels = compute.kernels.vector.attention;
  const KvLayerSpec& spec = step.layer->spec;
  const kernels::KvFormat format = step.cache->format();
  for (const SequenceRun& run : step.plan->runs) {
    COHORT_CHECK(static_cast<size_t>((run.first_position + run.rows - 1) / kPageTokens) <
                 run.pages.size());
    for_each_row(compute, run.rows, int64_t{spec.kv_heads} * (spec.key_dim + spec.value_dim),
                 [&](int32_t i) {
                   const int32_t position = run.first_position + i, row = run.first_row + i;
                   const int32_t page = run.pages[position / kPageTokens],
                                 slot = position % kPageTokens;
                   for (int h = 0; h < spec.kv_heads; ++h) {
                     kernels.store_key(format, step.cache->keys(page, *step.layer, h), slot,
                                       step.k.row(row) + h * spec.key_dim, spec.key_dim);
                     if (step.layer->value_in_key()) continue;
                     kernels.store_value(format, step.cache->values(page, *step.layer, h), slot,
                                         step.v.row(row) + h * spec.value_dim, spec.value_dim);
                   }
                 });
  }
}

void attend(const Compute& compute, const AttentionStep& step) { Run(compute, step)(); }

}  // namespace cohort::backend

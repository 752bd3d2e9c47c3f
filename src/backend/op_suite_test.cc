// What every backend must compute, against the plainest code that says the same. Parameterised over backends and the
// ways each of them can run; sizes are odd on purpose.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/cpu_backend.h"

namespace cohort::backend {
namespace {

struct Variant {
  std::string name;
  std::function<std::unique_ptr<Backend>()> make;
  float tolerance = 1e-4f;  // of products, relative to the size of the result
};

std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const std::string& kernels : cpu_kernel_names()) {
    for (int threads : {1, 2, 3}) {
      const CpuOptions options{.threads = threads, .math = Math::kF32, .kernels = kernels};
      all.push_back({"cpu_" + kernels + "_f32_" + std::to_string(threads) + "threads",
                     [options] { return make_cpu_backend(options); }});
    }
  }
  return all;
}

using Values = std::vector<float>;

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  float value() { return normal_(engine_); }
  Values values(int64_t count) {
    Values all(static_cast<size_t>(count));
    for (float& one : all) one = value();
    return all;
  }

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> normal_;
};

// A plain matrix that a test owns, and the view of it a backend loads.
struct PlainMatrix {
  int64_t experts, rows, columns;
  Values values;

  PlainMatrix(Random& random, int64_t rows_, int64_t columns_, int64_t experts_ = 0)
      : experts(experts_), rows(rows_), columns(columns_) {
    values = random.values(std::max<int64_t>(experts, 1) * rows * columns);
  }
  MatrixPart part() const {
    MatrixView view{.experts = experts, .rows = rows, .columns = columns};
    view.weight.data = reinterpret_cast<const std::byte*>(values.data());
    view.weight.shape = experts > 0 ? Shape{experts, rows, columns} : Shape{rows, columns};
    return {.view = view};
  }
  const float* row(int64_t r, int64_t expert = 0) const {
    return values.data() + (expert * rows + r) * columns;
  }
};

class Ops : public testing::TestWithParam<Variant> {
 protected:
  std::unique_ptr<Backend> backend_ = GetParam().make();
  Random random_{7};
  StepPlan plan_;

  // A step of one sequence's first `rows` positions.
  void begin(int32_t rows, int32_t first_position = 0) {
    plan_ = {};
    plan_.tokens.assign(static_cast<size_t>(rows), 0);
    plan_.runs = {{.first_row = 0, .rows = rows, .first_position = first_position}};
    backend_->begin_step(plan_);
  }
  Values read(Tensor x) {
    Values out(static_cast<size_t>(x.rows) * x.columns);
    EXPECT_TRUE(backend_->read(x, out).has_value());
    return out;
  }
  void expect_near(const Values& got, const Values& wanted, float tolerance) {
    ASSERT_EQ(got.size(), wanted.size());
    float most = 1.0f;
    for (float value : wanted) most = std::max(most, std::abs(value));
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], wanted[i], tolerance * most) << "at " << i;
  }
};

TEST_P(Ops, LinearMultipliesWithStackedPartsAndAddsTheBias) {
  const PlainMatrix a(random_, 7, 65), b(random_, 3, 65);
  const Values bias = random_.values(10);
  const std::vector<MatrixPart> parts = {a.part(), b.part()};
  const Matrix w = *backend_->load_matrix(parts, bias);
  ASSERT_EQ(w.rows, 10);
  const Values x = random_.values(5 * 65);
  begin(5);
  const Values y = read(backend_->linear(w, backend_->input(x, 65)));
  Values wanted;
  for (int r = 0; r < 5; ++r) {
    for (int i = 0; i < 10; ++i) {
      const float* row = i < 7 ? a.row(i) : b.row(i - 7);
      double sum = bias[i];
      for (int c = 0; c < 65; ++c) sum += double{row[c]} * x[r * 65 + c];
      wanted.push_back(static_cast<float>(sum));
    }
  }
  expect_near(y, wanted, GetParam().tolerance);
}

// ---- attention ----

struct AttentionCase {
  std::string name;
  int heads, kv_heads, key_dim, value_dim, value_prefix = 0, window = 0;
  bool sinks = false;
  KvType type = KvType::kF32;
};

// Attention over whole sequences in double precision: keys[p], values[p], queries[p].
Values plain_attention(const AttentionCase& c, int positions, const Values& q, const Values& k,
                       const Values& v, const Values& sinks, float scale) {
  const int dv = c.value_dim > 0 ? c.value_dim : c.value_prefix;
  Values out(static_cast<size_t>(positions) * c.heads * dv);
  for (int p = 0; p < positions; ++p) {
    for (int h = 0; h < c.heads; ++h) {
      const int g = h / (c.heads / c.kv_heads);
      const float* query = &q[(p * c.heads + h) * c.key_dim];
      const int first = c.window > 0 ? std::max(0, p - c.window + 1) : 0;
      std::vector<double> weights;
      double sum = c.sinks ? std::exp(double{sinks[h]}) : 0;
      for (int t = first; t <= p; ++t) {
        double score = 0;
        for (int d = 0; d < c.key_dim; ++d)
          score += double{query[d]} * k[(t * c.kv_heads + g) * c.key_dim + d];
        weights.push_back(std::exp(score * scale));
        sum += weights.back();
      }
      for (int t = first; t <= p; ++t) {
        const float* value =
            c.value_dim > 0 ? &v[(t * c.kv_heads + g) * dv] : &k[(t * c.kv_heads + g) * c.key_dim];
        for (int d = 0; d < dv; ++d) {
          out[(p * c.heads + h) * dv + d] +=
              static_cast<float>(weights[t - first] / sum * value[d]);
        }
      }
    }
  }
  return out;
}

Values slice(const Values& all, int first_row, int rows, int columns) {
  return {all.begin() + first_row * columns, all.begin() + (first_row + rows) * columns};
}

TEST_P(Ops, AttentionOverPagesEqualsPlainAttentionHoweverItIsChunked) {
  const std::vector<AttentionCase> cases = {
      {"one head", 1, 1, 5, 5},
      {"grouped", 6, 2, 24, 17},
      {"window", 4, 4, 16, 16, 0, 19},
      {"sinks", 9, 3, 40, 33, 0, 0, true},
      {"latent", 20, 1, 72, 0, 50},
      {"many heads", 70, 1, 8, 8},
      {"f16", 4, 2, 33, 47, 0, 0, false, KvType::kF16},
      {"bf16", 4, 2, 33, 47, 0, 0, false, KvType::kBF16},
      {"q8", 4, 2, 33, 47, 0, 0, false, KvType::kQ8},
      {"q8 latent", 4, 1, 72, 0, 64, 0, false, KvType::kQ8},
  };
  constexpr int kPositions = 75;
  for (const AttentionCase& c : cases) {
    SCOPED_TRACE(c.name);
    const int dv = c.value_dim > 0 ? c.value_dim : c.value_prefix;
    const Values q = random_.values(kPositions * c.heads * c.key_dim);
    const Values k = random_.values(kPositions * c.kv_heads * c.key_dim);
    const Values v = random_.values(kPositions * c.kv_heads * dv);
    const Values sinks = random_.values(c.heads);
    const float scale = 1.0f / std::sqrt(static_cast<float>(c.key_dim));
    const Values wanted = plain_attention(c, kPositions, q, k, v, sinks, scale);
    const float tolerance = c.type == KvType::kF32   ? 1e-5f
                            : c.type == KvType::kF16 ? 1e-3f
                                                     : 1.5e-2f;
    for (int chunk : {kPositions, 1, 7, 32}) {
      auto backend = GetParam().make();
      AttentionSpec spec{.heads = c.heads, .layer = 1, .scale = scale, .window = c.window};
      if (c.sinks) spec.sinks = *backend->load_vector(sinks);
      const KvLayerSpec layer{c.kv_heads, c.key_dim, c.value_dim, c.value_prefix};
      ASSERT_TRUE(backend->create_kv({.layers = {layer, layer}, .type = c.type}, 5).has_value());
      Values got;
      for (int p = 0; p < kPositions; p += chunk) {
        const int rows = std::min(chunk, kPositions - p);
        StepPlan plan;
        plan.tokens.assign(static_cast<size_t>(rows), 0);
        plan.runs = {{.first_row = 0, .rows = rows, .first_position = p, .pages = {3, 0, 4}}};
        backend->begin_step(plan);
        const auto input = [&](const Values& all, int columns) {
          return backend->input(slice(all, p, rows, columns), columns);
        };
        const Tensor value = c.value_dim > 0 ? input(v, c.kv_heads * dv) : Tensor{};
        const Tensor out = backend->attention(input(q, c.heads * c.key_dim),
                                              input(k, c.kv_heads * c.key_dim), value, spec);
        Values part(static_cast<size_t>(rows) * c.heads * dv);
        ASSERT_TRUE(backend->read(out, part).has_value());
        got.insert(got.end(), part.begin(), part.end());
      }
      expect_near(got, wanted, tolerance);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Ops, testing::ValuesIn(variants()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace cohort::backend

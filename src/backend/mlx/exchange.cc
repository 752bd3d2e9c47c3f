#include "backend/mlx/exchange.h"

#include <chrono>
#include <cstring>
#include <functional>

#include <mlx/backend/cpu/encoder.h>
#include <mlx/primitives.h>

#include "base/check.h"

namespace cohort::backend::mlx_parts {

// Of one exchange, while every peer is alive: the slowest device's share of the longest chunk.
constexpr std::chrono::minutes kLimit{5};

struct Exchanges::State {
  transport::Group* group = nullptr;
  std::optional<Error> error;

  template <class Call>
  void exchange(Call&& call) {
    if (error) return;
    Result<void> done = call(transport::Deadline::after(kLimit));
    if (!done) error = std::move(done).error();
  }
};

namespace {

using State = Exchanges::State;

// Inputs: the values, and the exchange before this one if there was any, so that all ranks exchange in one order.
class Exchange : public mx::Primitive {
 public:
  explicit Exchange(std::shared_ptr<State> state)
      : mx::Primitive(mx::default_stream(mx::Device::cpu)), state_(std::move(state)) {}

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    COHORT_CHECK(false);  // its stream is a CPU's
  }

 protected:
  // On the stream's thread, when all before it has been computed. MLX keeps the arrays' memory until then.
  void run(std::function<void(State&)> work) const {
    const mx::Stream cpu = const_cast<Exchange*>(this)->stream();
    mx::cpu::get_command_encoder(cpu).dispatch(
        [state = state_, work = std::move(work)] { work(*state); });
  }

 private:
  std::shared_ptr<State> state_;
};

class AllSum final : public Exchange {
 public:
  using Exchange::Exchange;
  const char* name() const override { return "CohortAllSum"; }

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    const mx::array& in = inputs[0];
    mx::array& out = outputs[0];
    if (in.is_donatable()) {
      out.copy_shared_buffer(in);
    } else {
      out.set_data(mx::allocator::malloc(out.nbytes()));
    }
    run([from = in.data<float>(), to = out.data<float>(), count = out.size()](State& state) {
      if (from != to) std::memcpy(to, from, count * sizeof(float));
      state.exchange([&](auto deadline) { return state.group->all_sum({to, count}, deadline); });
    });
  }
};

class AllGather final : public Exchange {
 public:
  AllGather(std::shared_ptr<State> state, std::vector<size_t> sizes)
      : Exchange(std::move(state)), sizes_(std::move(sizes)) {}
  const char* name() const override { return "CohortAllGather"; }

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    const mx::array& in = inputs[0];
    mx::array& out = outputs[0];
    out.set_data(mx::allocator::malloc(out.nbytes()));
    const auto part = std::as_bytes(std::span(in.data<float>(), in.size()));
    const auto all = std::as_writable_bytes(std::span(out.data<float>(), out.size()));
    run([part, all, sizes = sizes_](State& state) {
      state.exchange(
          [&](auto deadline) { return state.group->all_gather(part, sizes, all, deadline); });
    });
  }

 private:
  std::vector<size_t> sizes_;
};

}  // namespace

void Exchanges::set_group(transport::Group* group) {
  state_ = std::make_shared<State>();
  state_->group = group;
  last_.reset();
}

bool Exchanges::alone() const {
  return !state_ || state_->group == nullptr || state_->group->size() == 1;
}

mx::array Exchanges::chain(mx::array made) {
  last_ = made;
  return made;
}

mx::array Exchanges::all_sum(const mx::array& x) {
  std::vector<mx::array> inputs = {mx::contiguous(x)};
  if (last_) inputs.push_back(*last_);
  return chain(
      mx::array(x.shape(), mx::float32, std::make_shared<AllSum>(state_), std::move(inputs)));
}

std::vector<mx::array> Exchanges::all_gather(const mx::array& part,
                                             std::span<const int32_t> columns) {
  COHORT_CHECK(static_cast<int>(columns.size()) == state_->group->size());
  const int rows = part.shape(0);
  std::vector<size_t> sizes;
  int total = 0;
  for (const int32_t count : columns) {
    sizes.push_back(sizeof(float) * static_cast<size_t>(rows) * static_cast<size_t>(count));
    total += rows * count;
  }
  std::vector<mx::array> inputs = {mx::contiguous(part)};
  if (last_) inputs.push_back(*last_);
  const mx::array all =
      chain(mx::array({total}, mx::float32, std::make_shared<AllGather>(state_, std::move(sizes)),
                      std::move(inputs)));
  std::vector<mx::array> parts;
  for (int first = 0; const int32_t count : columns) {
    parts.push_back(mx::reshape(mx::slice(all, {first}, {first + rows * count}), {rows, count}));
    first += rows * count;
  }
  return parts;
}

void Exchanges::append_to(std::vector<mx::array>& outputs) const {
  if (last_) outputs.push_back(*last_);
}

Result<void> Exchanges::status() const {
  if (state_ && state_->error) return tl::unexpected(*state_->error);
  return {};
}

}  // namespace cohort::backend::mlx_parts

// Weights of the next product on their way into a core's own cache while that core has nothing to compute: a rank waits
// for the others' sums, a worker for the other workers.
//
// What follows a product is what followed it last time; where that changes, as with experts, nothing is fetched.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace cohort::backend {

// What one worker reads first of a product.
struct Stretch {
  const std::byte* begin = nullptr;
  int64_t size_bytes = 0;
};

class ReadAhead {
 public:
  // A worker fetches `most_bytes` at most, what its cache keeps beside everything else.
  ReadAhead(int workers, int64_t most_bytes);

  // By the owning thread, when a product begins. `product` is its weights or whatever else stands for it in all steps;
  // stretches() gives a Stretch for each worker, or none, and is asked once.
  template <class Stretches>
  void begin(const void* product, Stretches&& stretches) {
    auto known = products_.find(product);
    if (known == products_.end()) known = learn(product, stretches());
    follow(known->second);
  }
  // What comes now is not the same in all steps.
  void pause();

  // By worker `worker`, again and again while it waits: the next lines, in a fraction of a microsecond. How many bytes.
  int64_t fetch(int worker);

 private:
  struct Product {
    std::vector<Stretch> stretches;  // constant
    const Product* follower = nullptr;
    bool steady = false;  // the follower was the same last time
  };
  using Products = std::unordered_map<const void*, Product>;
  struct alignas(64) Cursor {  // a worker's
    const Product* product = nullptr;
    Stretch left;
  };

  Products::iterator learn(const void* product, std::vector<Stretch> stretches);
  void follow(Product& product);

  const int64_t most_bytes_;
  Products products_;
  Product* current_ = nullptr;
  std::atomic<const Product*> next_{nullptr};  // whose `stretches` the workers read
  std::vector<Cursor> cursors_;
};

}  // namespace cohort::backend

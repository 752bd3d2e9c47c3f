// bench_kernels [--benchmark_filter=REGEX]; pin it to a core.
#include "rates.h"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  cohort::kernels::add_products();
  cohort::kernels::add_attention();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

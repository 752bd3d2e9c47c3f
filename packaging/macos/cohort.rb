# Draft of a Homebrew formula: never run. `url` and `sha256` are those of a release, once there is one.
class Cohort < Formula
  desc "Joins the computers you own into one AI cluster"
  homepage "https://example.invalid/cohort"
  url "https://example.invalid/cohort-0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license "Apache-2.0"

  depends_on "cli11" => :build
  depends_on "cmake" => :build
  depends_on "googletest" => :build
  depends_on "ninja" => :build
  depends_on "nlohmann-json" => :build
  depends_on "pkgconf" => :build
  depends_on "tl-expected" => :build
  depends_on "tomlplusplus" => :build
  depends_on "boost"
  depends_on "curl"
  depends_on "fmt"
  depends_on "libedit"
  depends_on :macos
  depends_on "mlx" if Hardware::CPU.arm?
  depends_on "openssl@3"
  depends_on "pcre2"
  depends_on "simdjson"
  depends_on "spdlog"
  depends_on "utf8proc"

  def install
    system "cmake", "-S", ".", "-B", "build", "-G", "Ninja", *std_cmake_args
    system "cmake", "--build", "build", "--target", "cohort"
    bin.install "build/cohort"
  end

  service do
    run [opt_bin/"cohort", "serve"]
    keep_alive true
    process_type :interactive
    log_path var/"log/cohort.log"
    error_log_path var/"log/cohort.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/cohort version")
  end
end

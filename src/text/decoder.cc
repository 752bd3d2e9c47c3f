#include "text/decoder.h"

#include <algorithm>
#include <optional>

#include "base/json.h"
#include "text/byte_alphabet.h"
#include "text/unicode.h"

namespace cohort::text {
namespace {

constexpr size_t kMaxSteps = 64;
constexpr std::string_view kMetaspaceMark = "\xE2\x96\x81";

struct Fields {
  std::string type;
  Json pattern;
  std::string content;
  size_t start = 0;
  size_t stop = 0;
  std::string replacement{kMetaspaceMark};
  std::optional<bool> add_prefix_space;
  std::optional<std::string> prepend_scheme;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("type", type);
    visit("pattern", pattern);
    visit("content", content);
    visit("start", start);
    visit("stop", stop);
    visit("replacement", replacement);
    visit("add_prefix_space", add_prefix_space);
    visit("prepend_scheme", prepend_scheme);
  }
};

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t found = from.empty() ? std::string_view::npos : text.find(from, at);
    out += text.substr(at, found - at);
    if (found == std::string_view::npos) break;
    out += to;
    at = found + from.size();
  }
  return out;
}

// The byte that a piece like <0x0A> stands for.
std::optional<char> byte_of_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece.back() != '>') return std::nullopt;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  const int high = digit(piece[3]);
  const int low = digit(piece[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

// How many bytes at the end of `text` could be the begin of `wanted`.
size_t partial_match_at_end(std::string_view text, std::string_view wanted) {
  size_t size = std::min(text.size(), wanted.empty() ? 0 : wanted.size() - 1);
  while (size > 0 && !text.ends_with(wanted.substr(0, size))) --size;
  return size;
}

}  // namespace

Result<Decoder::Step> Decoder::make_step(const Json& config) {
  COHORT_TRY(const Fields f, from_json<Fields>(config, "decoder"));
  Step step;
  if (f.type == "ByteLevel") {
    step.kind = Kind::kByteLevel;
  } else if (f.type == "ByteFallback") {
    step.kind = Kind::kByteFallback;
  } else if (f.type == "Fuse") {
    step.kind = Kind::kFuse;
  } else if (f.type == "Metaspace") {
    step.kind = Kind::kMetaspace;
    step.from = f.replacement;
    step.flag = f.prepend_scheme ? *f.prepend_scheme != "never" : f.add_prefix_space.value_or(true);
  } else if (f.type == "Strip") {
    step.kind = Kind::kStrip;
    step.from = f.content;
    step.start = f.start;
    step.stop = f.stop;
  } else if (f.type == "Replace") {
    if (!f.pattern.contains("String") || !f.pattern["String"].is_string()) {
      return fail(Code::kUnsupported, "decoder: Replace is known with a String pattern only");
    }
    step.kind = Kind::kReplace;
    step.from = f.pattern["String"].get<std::string>();
    step.to = f.content;
  } else {
    return fail(Code::kUnsupported, "decoder type '{}' is not known", f.type);
  }
  return step;
}

Result<void> Decoder::add(const Json& config) {
  if (config.is_object() && config.value("type", Json()) == "Sequence") {
    const auto parts = config.find("decoders");
    if (parts == config.end() || !parts->is_array()) {
      return fail(Code::kDataLoss, "decoder: a Sequence without a list of decoders");
    }
    for (const Json& part : *parts) COHORT_TRY_VOID(add(part));
    return {};
  }
  COHORT_TRY(Step step, make_step(config));
  const auto fuses = [](const Step& s) {
    return s.fused || s.kind == Kind::kFuse || s.kind == Kind::kByteLevel;
  };
  step.fused = !steps_.empty() && fuses(steps_.back());
  const bool wants_pieces = step.kind == Kind::kByteLevel || step.kind == Kind::kByteFallback ||
                            step.kind == Kind::kMetaspace;
  if (step.fused && wants_pieces) {
    return fail(Code::kUnsupported, "decoder: a step that needs single pieces comes after Fuse");
  }
  if (steps_.size() == kMaxSteps) {
    return fail(Code::kUnsupported, "decoder: more than {} steps", kMaxSteps);
  }
  steps_.push_back(std::move(step));
  return {};
}

Result<Decoder> Decoder::parse(const Json& config) {
  Decoder decoder;
  if (config.is_null()) {
    decoder.steps_.push_back({.kind = Kind::kJoinBySpace});
  } else {
    COHORT_TRY_VOID(decoder.add(config));
  }
  return decoder;
}

DecodeStream::DecodeStream(const Decoder& decoder, bool eager)
    : decoder_(decoder), eager_(eager), states_(decoder.steps_.size()) {}

void DecodeStream::push(std::string_view piece, std::string& out) { feed(0, piece, out); }

void DecodeStream::finish(std::string& out) { drain(0, out); }

void DecodeStream::feed_next(size_t index, std::string_view text, std::string& out) {
  feed(index + 1, text, out);
}

void DecodeStream::feed(size_t index, std::string_view text, std::string& out) {
  if (index == states_.size()) {
    out += text;
    return;
  }
  using Kind = Decoder::Kind;
  const Decoder::Step& step = decoder_.steps_[index];
  const bool first = !std::exchange(states_[index].begun, true);
  switch (step.kind) {
    case Kind::kFuse: return feed_next(index, text, out);
    case Kind::kJoinBySpace:
      return feed_next(index, first ? std::string(text) : ' ' + std::string(text), out);
    case Kind::kByteLevel: {
      const auto bytes = bytes_of_characters(text);
      return feed_bytes(index, bytes ? std::string_view(*bytes) : text, out);
    }
    case Kind::kByteFallback:
      if (const auto byte = byte_of_piece(text)) return feed_byte_piece(index, *byte, out);
      flush_byte_pieces(index, out);
      return feed_next(index, text, out);
    case Kind::kMetaspace:
      return feed_next(index, replace_all(text, step.from, first && step.flag ? "" : " "), out);
    case Kind::kReplace:
      if (step.fused) return feed_replaced(index, text, out);
      return feed_next(index, replace_all(text, step.from, step.to), out);
    case Kind::kStrip:
      feed_stripped(index, text, out);
      if (!step.fused) states_[index] = {};  // every piece is stripped by itself
      return;
  }
}

void DecodeStream::drain(size_t index, std::string& out) {
  if (index == states_.size()) return;
  State& state = states_[index];
  switch (decoder_.steps_[index].kind) {
    case Decoder::Kind::kByteLevel:
      if (!state.pending.empty()) feed_next(index, kReplacementCharacter, out);
      break;
    case Decoder::Kind::kByteFallback: flush_byte_pieces(index, out); break;
    case Decoder::Kind::kReplace:
      if (!state.pending.empty()) feed_next(index, state.pending, out);
      break;
    default: break;  // what kStrip holds back is what it strips
  }
  state = {};
  drain(index + 1, out);
}

void DecodeStream::feed_bytes(size_t index, std::string_view bytes, std::string& out) {
  std::string& pending = states_[index].pending;  // fewer than 4 bytes, the begin of a character
  pending += bytes;
  std::string whole;
  size_t at = 0;
  while (at < pending.size()) {
    const Utf8Step step = utf8_step(pending, at);
    if (step.kind == Utf8Step::kUnfinished) break;
    whole += step.kind == Utf8Step::kValid ? std::string_view(pending).substr(at, step.size)
                                           : kReplacementCharacter;
    at += step.size;
  }
  pending.erase(0, at);
  if (!whole.empty()) feed_next(index, whole, out);
}

void DecodeStream::feed_byte_piece(size_t index, char byte, std::string& out) {
  std::string& pending = states_[index].pending;
  pending += byte;
  while (eager_ && !pending.empty()) {
    const Utf8Step step = utf8_step(pending, 0);
    if (step.kind == Utf8Step::kUnfinished) return;
    const std::string done = pending.substr(0, step.size);
    pending.erase(0, step.size);
    if (step.kind == Utf8Step::kValid) {
      feed_next(index, done, out);
    } else {
      for (size_t i = 0; i < done.size(); ++i) feed_next(index, kReplacementCharacter, out);
    }
  }
}

void DecodeStream::flush_byte_pieces(size_t index, std::string& out) {
  const std::string run = std::exchange(states_[index].pending, {});
  if (run.empty()) return;
  if (is_valid_utf8(run)) return feed_next(index, run, out);
  for (size_t i = 0; i < run.size(); ++i) feed_next(index, kReplacementCharacter, out);
}

void DecodeStream::feed_replaced(size_t index, std::string_view text, std::string& out) {
  const Decoder::Step& step = decoder_.steps_[index];
  std::string all = std::exchange(states_[index].pending, {});
  all += text;
  std::string done;
  size_t at = 0;
  while (!step.from.empty()) {
    const size_t found = all.find(step.from, at);
    if (found == std::string::npos) break;
    done.append(all, at, found - at) += step.to;
    at = found + step.from.size();
  }
  const std::string_view rest = std::string_view(all).substr(at);
  const size_t held = partial_match_at_end(rest, step.from);
  done += rest.substr(0, rest.size() - held);
  states_[index].pending = rest.substr(rest.size() - held);
  if (!done.empty()) feed_next(index, done, out);
}

void DecodeStream::feed_stripped(size_t index, std::string_view text, std::string& out) {
  const Decoder::Step& step = decoder_.steps_[index];
  State& state = states_[index];
  const std::string& mark = step.from;
  while (state.stripped < step.start && !mark.empty() && text.starts_with(mark)) {
    text.remove_prefix(mark.size());
    ++state.stripped;
  }
  if (text.empty()) return;
  state.stripped = step.start;
  std::string all = std::exchange(state.pending, {});
  all += text;
  size_t end = all.size();
  for (size_t i = 0; i < step.stop && !mark.empty(); ++i) {
    if (!std::string_view(all).substr(0, end).ends_with(mark)) break;
    end -= mark.size();
  }
  state.pending = all.substr(end);
  all.resize(end);
  if (!all.empty()) feed_next(index, all, out);
}

}  // namespace cohort::text

// tokenizer.json -> a tokenizer. The big tables are read with simdjson, the small parts by the classes they configure.
#include <fmt/format.h>
#include <simdjson.h>

#include "base/json.h"
#include "text/bpe.h"
#include "text/pipeline.h"
#include "text/tokenizer.h"
#include "text/unigram.h"

namespace cohort::text {
namespace {

namespace dom = simdjson::dom;

// The value under a key; nothing when it is absent or null.
std::optional<dom::element> find(dom::element object, std::string_view key) {
  dom::element value;
  if (object[key].get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
  return value;
}

bool bool_or(dom::element object, std::string_view key, bool otherwise) {
  bool value = otherwise;
  const auto found = find(object, key);
  return found && found->get(value) == simdjson::SUCCESS ? value : otherwise;
}

std::string_view string_or(dom::element object, std::string_view key, std::string_view otherwise) {
  std::string_view value;
  const auto found = find(object, key);
  return found && found->get(value) == simdjson::SUCCESS ? value : otherwise;
}

// A small part of the document for the class that it configures.
Result<Json> part(dom::element document, std::string_view key) {
  const auto found = find(document, key);
  if (!found) return Json();
  return parse_json(simdjson::minify(*found));
}

class Loader {
 public:
  Result<PipelineParts> run(dom::element document) {
    const auto model = find(document, "model");
    if (!model || !model->is_object()) return fail(Code::kDataLoss, "'model' is missing");
    COHORT_TRY_VOID(load_vocabulary(*model));
    COHORT_TRY(const Json normalizer, part(document, "normalizer"));
    COHORT_TRY(parts_.normalizer, Normalizer::parse(normalizer));
    COHORT_TRY_VOID(load_added_tokens(document));
    COHORT_TRY(const Json pre_tokenizer, part(document, "pre_tokenizer"));
    COHORT_TRY(parts_.pre_tokenizer, PreTokenizer::parse(pre_tokenizer, type_ == "BPE"));
    COHORT_TRY(const Json post_processor, part(document, "post_processor"));
    COHORT_TRY(parts_.post_processor, PostProcessor::parse(post_processor));
    COHORT_TRY(const Json decoder, part(document, "decoder"));
    COHORT_TRY(parts_.decoder, Decoder::parse(decoder));
    COHORT_TRY_VOID(type_ == "BPE" ? load_bpe(*model) : load_unigram(*model));
    return std::move(parts_);
  }

 private:
  Result<void> load_vocabulary(dom::element model) {
    parts_.vocabulary = std::make_unique<Vocabulary>();
    const auto vocab = find(model, "vocab");
    if (!vocab) return fail(Code::kDataLoss, "model.vocab is missing");
    // Old files have no type.
    type_ = string_or(model, "type", find(model, "merges") ? "BPE" : "Unigram");
    if (type_ == "BPE" && vocab->is_object())
      return load_vocabulary_object(vocab->get_object().value());
    if (type_ == "Unigram" && vocab->is_array())
      return load_scored_pieces(vocab->get_array().value());
    if (type_ != "BPE" && type_ != "Unigram") {
      return fail(Code::kUnsupported, "model type '{}' is not known; BPE and Unigram are", type_);
    }
    return fail(Code::kDataLoss, "model.vocab of a {} model has the wrong type", type_);
  }

  Result<void> load_vocabulary_object(dom::object vocab) {
    parts_.vocabulary->reserve(vocab.size(), vocab.size() * 8);
    for (const auto& [piece, value] : vocab) {
      int64_t id = 0;
      if (value.get(id) != simdjson::SUCCESS) {
        return fail(Code::kDataLoss, "model.vocab: the id of '{}' is no integer", piece);
      }
      if (auto added = parts_.vocabulary->add(piece, id); !added) {
        return fail_in("model.vocab", added.error());
      }
    }
    return {};
  }

  Result<void> load_scored_pieces(dom::array vocab) {
    parts_.vocabulary->reserve(vocab.size(), vocab.size() * 8);
    for (const dom::element item : vocab) {
      std::string_view piece;
      double score = 0;
      if (item.at(0).get(piece) != simdjson::SUCCESS ||
          item.at(1).get(score) != simdjson::SUCCESS) {
        return fail(Code::kDataLoss, "model.vocab[{}]: expected [piece, score]", scores_.size());
      }
      if (auto added = parts_.vocabulary->add(piece, static_cast<int64_t>(scores_.size()));
          !added) {
        return fail_in("model.vocab", added.error());
      }
      scores_.push_back(score);
    }
    return {};
  }

  Result<void> load_added_tokens(dom::element document) {
    const auto list = find(document, "added_tokens");
    if (!list) return {};
    dom::array items;
    if (list->get(items) != simdjson::SUCCESS) {
      return fail(Code::kDataLoss, "added_tokens: expected an array");
    }
    std::vector<AddedToken> raw;
    std::vector<AddedToken> normalized;
    size_t index = 0;
    for (const dom::element item : items) {
      const auto context = fmt::format("added_tokens[{}]", index++);
      auto token = load_added_token(item);
      if (!token) return fail_in(context, token.error());
      if (token->content.empty()) continue;
      if (auto put = register_added_token(*token); !put) return fail_in(context, put.error());
      if (!bool_or(item, "normalized", false)) {
        raw.push_back(*std::move(token));
        continue;
      }
      token->content = parts_.normalizer.run({token->content, {}}).text;
      if (!token->content.empty()) normalized.push_back(*std::move(token));
    }
    parts_.raw = AddedTokenMatcher(std::move(raw));
    parts_.normalized = AddedTokenMatcher(std::move(normalized));
    return {};
  }

  Result<AddedToken> load_added_token(dom::element item) {
    int64_t id = 0;
    const auto value = find(item, "id");
    if (!value || value->get(id) != simdjson::SUCCESS || !find(item, "content")) {
      return fail(Code::kDataLoss, "expected an object with id and content");
    }
    if (id < 0 || id > kMaxTokenId) {
      return fail(Code::kDataLoss, "id {}; ids go from 0 to {}", id, kMaxTokenId);
    }
    AddedToken token;
    token.id = static_cast<TokenId>(id);
    token.content = string_or(item, "content", "");
    token.single_word = bool_or(item, "single_word", false);
    token.lstrip = bool_or(item, "lstrip", false);
    token.rstrip = bool_or(item, "rstrip", false);
    token.special = bool_or(item, "special", false);
    const bool known = parts_.vocabulary->find_hidden_too(token.content).has_value();
    token.is_control = looks_like_control(token.content, token.special, known);
    return token;
  }

  Result<void> register_added_token(const AddedToken& token) {
    Vocabulary& vocabulary = *parts_.vocabulary;
    const auto in_model = vocabulary.find_hidden_too(token.content);
    if (in_model && *in_model != token.id) {
      return fail(Code::kDataLoss, "'{}' has id {}, but {} in model.vocab", token.content, token.id,
                  *in_model);
    }
    if (!in_model && vocabulary.contains(token.id)) {
      return fail(Code::kDataLoss, "'{}' has id {}, which is '{}' in model.vocab", token.content,
                  token.id, vocabulary.piece(token.id));
    }
    // The same token twice is harmless.
    if (parts_.added.find(token.content) != token.id) {
      COHORT_TRY_VOID(parts_.added.add(token.content, token.id));
    }
    // The model must not compose it out of ordinary text.
    if (in_model && token.is_control) vocabulary.hide(token.id);
    const auto index = static_cast<size_t>(token.id);
    if (parts_.special.size() <= index) parts_.special.resize(index + 1);
    parts_.special[index] = token.special;
    return {};
  }

  std::optional<TokenId> find_piece(std::string_view piece) const {
    if (const auto id = parts_.added.find(piece)) return id;
    return parts_.vocabulary->find(piece);
  }

  Result<void> load_bpe(dom::element model) {
    for (const auto key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!string_or(model, key, "").empty()) {
        return fail(Code::kUnsupported, "model.{} is not supported", key);
      }
    }
    BpeOptions options{.bytes = parts_.pre_tokenizer.yields_bytes(),
                       .byte_fallback = bool_or(model, "byte_fallback", false),
                       .fuse_unk = bool_or(model, "fuse_unk", false),
                       .ignore_merges = bool_or(model, "ignore_merges", false)};
    if (const auto name = string_or(model, "unk_token", ""); !name.empty()) {
      options.unknown = find_piece(name);
      if (!options.unknown) {
        return fail(Code::kDataLoss, "model.unk_token '{}' is not in the vocabulary", name);
      }
    }
    dom::array merges;
    const auto list = find(model, "merges");
    if (!list || list->get(merges) != simdjson::SUCCESS) {
      return fail(Code::kDataLoss, "model.merges is missing");
    }
    auto bpe = std::make_unique<Bpe>(*parts_.vocabulary, options, merges.size());
    COHORT_TRY_VOID(load_merges(merges, *bpe));
    parts_.model = std::move(bpe);
    return {};
  }

  // "a b", or ["a", "b"] where pieces may contain spaces.
  static Result<void> load_merges(dom::array merges, Bpe& bpe) {
    size_t index = 0;
    for (const dom::element merge : merges) {
      std::string_view left;
      std::string_view right;
      if (merge.get(left) == simdjson::SUCCESS) {
        const size_t space = std::min(left.find(' '), left.size());
        right = left.substr(std::min(space + 1, left.size()));
        left = left.substr(0, space);
      } else if (merge.at(0).get(left) != simdjson::SUCCESS ||
                 merge.at(1).get(right) != simdjson::SUCCESS) {
        left = {};
      }
      if (left.empty() || right.empty()) {
        return fail(Code::kDataLoss, "model.merges[{}]: expected two pieces", index);
      }
      if (auto added = bpe.add_merge(left, right); !added) {
        return fail_in(fmt::format("model.merges[{}] '{} {}'", index, left, right), added.error());
      }
      ++index;
    }
    return {};
  }

  Result<void> load_unigram(dom::element model) {
    UnigramOptions options{.byte_fallback = bool_or(model, "byte_fallback", false)};
    if (const auto value = find(model, "unk_id")) {
      int64_t id = -1;
      if (value->get(id) != simdjson::SUCCESS || id < 0 ||
          id >= static_cast<int64_t>(scores_.size())) {
        return fail(Code::kDataLoss, "model.unk_id {} is not in model.vocab", id);
      }
      options.unknown = static_cast<TokenId>(id);
    }
    parts_.model = std::make_unique<Unigram>(*parts_.vocabulary, std::move(scores_), options);
    return {};
  }

  PipelineParts parts_;
  std::string_view type_;
  std::vector<double> scores_;  // of a Unigram model
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_tokenizer(std::string_view json) {
  dom::parser parser;
  dom::element document;
  if (const auto error = parser.parse(json.data(), json.size()).get(document)) {
    return fail(Code::kDataLoss, "tokenizer.json is not valid JSON: {}",
                simdjson::error_message(error));
  }
  auto parts = Loader().run(document);
  if (!parts) return fail_in("tokenizer.json", parts.error());
  return std::make_unique<PipelineTokenizer>(*std::move(parts));
}

}  // namespace cohort::text

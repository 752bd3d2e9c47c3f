#include "engine/engine.h"

#include <gtest/gtest.h>

#include <set>

#include "engine/testing/harness.h"

namespace cohort::engine {
namespace {

using namespace testing;

constexpr int kPage = backend::kPageTokens;

Request make_request(RequestId id, size_t prompt_tokens, int32_t max_tokens) {
  Request request;
  request.id = id;
  request.prompt = random_tokens(id + 1000, prompt_tokens);
  request.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  request.sampling.seed = id;
  return request;
}

void expect_same(const Answer& got, const Answer& want) {
  EXPECT_EQ(got.tokens, want.tokens);
  EXPECT_EQ(got.text, want.text);
  EXPECT_EQ(got.last.finish, want.last.finish);
  EXPECT_EQ(got.last.completion_tokens, want.last.completion_tokens);
}

TEST(Engine, AnswersARequestWithTextTokensAndUsage) {
  Harness harness;
  const Answer answer = harness.run(make_request(1, 10, 5));
  EXPECT_EQ(answer.tokens.size(), 5u);
  EXPECT_EQ(answer.deltas, 5);
  EXPECT_EQ(answer.text, harness.tokenizer.decode(answer.tokens, true));
  EXPECT_EQ(answer.last.finish, FinishReason::kLength);
  EXPECT_EQ(answer.last.prompt_tokens, 10);
  EXPECT_EQ(answer.last.completion_tokens, 5);
  EXPECT_EQ(answer.last.cached_tokens, 0);
  EXPECT_GE(answer.last.prefill_seconds, 0);
  EXPECT_EQ(harness.engine.stats().kv_pages_used, 0);
}

TEST(Engine, ChunksOfAnySizeGiveTheSameAnswer) {
  const Request request = make_request(3, 100, 40);
  const Answer want = alone(request)[0];
  for (const int32_t chunk : {1, 7, 16, 32, 33, 1000}) {
    EngineOptions options = fake_options();
    options.chunk_tokens = chunk;
    Harness harness(options);
    expect_same(harness.run(request), want);
  }
}

TEST(Engine, EightStreamsGiveWhatEachGivesAlone) {
  Harness harness;
  std::vector<Request> requests;
  for (RequestId id = 0; id < 8; ++id) requests.push_back(make_request(id, 3 + 17 * id, 60));
  for (const Request& request : requests) {
    harness.submit(request);
    harness.step();
  }
  harness.drain();
  for (const Request& request : requests)
    expect_same(harness.answer(request.id), alone(request)[0]);
}

TEST(Engine, TheEndOfSequenceTokenStopsAndIsNotText) {
  Harness harness;
  Request request = make_request(1, 4, 1000);
  request.sampling.ignore_eos = false;
  const Answer answer = harness.run(request);
  EXPECT_EQ(answer.last.finish, FinishReason::kStop);
  EXPECT_EQ(answer.tokens.back(), kEos);
  EXPECT_EQ(std::count(answer.tokens.begin(), answer.tokens.end(), kEos), 1);
  EXPECT_EQ(answer.text.find("</s>"), std::string::npos);
  EXPECT_EQ(answer.last.completion_tokens, static_cast<int32_t>(answer.tokens.size()));
}

TEST(Engine, NoEndOfSequenceTokenComesBeforeMinTokens) {
  Request request = make_request(1, 4, 500);
  request.sampling.ignore_eos = false;
  const size_t natural = alone(request)[0].tokens.size();
  request.sampling.min_tokens = static_cast<int32_t>(natural) + 20;
  const Answer answer = alone(request)[0];
  EXPECT_GT(answer.tokens.size(), natural + 19);
  EXPECT_EQ(std::find(answer.tokens.begin(), answer.tokens.end() - 1, kEos),
            answer.tokens.end() - 1);
}

TEST(Engine, AStopStringAcrossTokensEndsTheTextBeforeIt) {
  Request request = make_request(1, 6, 60);
  const Answer whole = alone(request)[0];
  for (size_t at = 5; at < 40; at += 7) {
    request.stop = {"zzzzzz", whole.text.substr(at, 4)};
    const size_t first = whole.text.find(request.stop[1]);
    Harness harness;
    const Answer answer = harness.run(request);
    EXPECT_EQ(answer.text, whole.text.substr(0, first));
    EXPECT_EQ(answer.last.finish, FinishReason::kStop);
    EXPECT_LT(answer.tokens.size(), whole.tokens.size());
  }
}

TEST(Engine, HeldTextIsSentWhenTheAnswerEndsOtherwise) {
  Request request = make_request(1, 6, 20);
  const Answer whole = alone(request)[0];
  request.stop = {whole.text.substr(whole.text.size() - 3) + "?"};
  const Answer answer = alone(request)[0];
  EXPECT_EQ(answer.text, whole.text);
  EXPECT_EQ(answer.last.finish, FinishReason::kLength);
}

TEST(Engine, APromptOverTheContextIsRefusedWithBothNumbers) {
  EngineOptions options = fake_options();
  options.context_length = 100;
  Harness harness(options);
  const auto refused = harness.engine.submit(make_request(1, 100, 1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("prompt has 100 tokens"), std::string::npos);
  EXPECT_NE(refused.error().message.find("context holds 100"), std::string::npos);
  EXPECT_EQ(harness.run(make_request(2, 99, 0)).tokens.size(), 1u);
}

TEST(Engine, TheAnswerEndsAtTheContextLimit) {
  EngineOptions options = fake_options();
  options.context_length = 70;
  Harness harness(options);
  const Answer answer = harness.run(make_request(1, 50, 0));
  EXPECT_EQ(answer.tokens.size(), 20u);
  EXPECT_EQ(answer.last.finish, FinishReason::kLength);
}

TEST(Engine, TheContextIsNoLargerThanTheModelOrTheMemory) {
  EngineOptions options = fake_options();
  options.kv_pages = 2;
  EXPECT_EQ(Harness(options).engine.context_length(), 2 * kPage);
  options.kv_pages = 1 << 20;
  EXPECT_EQ(Harness(options).engine.context_length(), fake_model_info().max_positions);
}

TEST(Engine, ParametersThatMakeNoSenseAreRefused) {
  Harness harness;
  const auto refused = [&](auto change) {
    Request request = make_request(1, 4, 4);
    change(request);
    const auto result = harness.engine.submit(request);
    return !result && result.error().code == Code::kInvalidArgument;
  };
  EXPECT_TRUE(refused([](Request& r) { r.prompt.clear(); }));
  EXPECT_TRUE(refused([](Request& r) { r.prompt[1] = kVocab; }));
  EXPECT_TRUE(refused([](Request& r) { r.generated = {-1}; }));
  EXPECT_TRUE(refused([](Request& r) { r.max_tokens = -1; }));
  EXPECT_TRUE(refused([](Request& r) { r.choices = 0; }));
  EXPECT_TRUE(refused([](Request& r) { r.choices = kMaxChoices + 1; }));
  EXPECT_TRUE(refused([](Request& r) { r.choices = 2, r.generated = {5}; }));
  EXPECT_TRUE(refused([](Request& r) { r.stop.assign(kMaxStopStrings + 1, "x"); }));
  EXPECT_TRUE(refused([](Request& r) { r.stop = {std::string(kMaxStopBytes + 1, 'x')}; }));
  EXPECT_TRUE(refused([](Request& r) { r.sampling.top_p = 2; }));
  harness.submit(make_request(1, 4, 4));
  EXPECT_TRUE(refused([](Request&) {}));  // the id is taken
  harness.drain();
}

TEST(Engine, AFullQueueIsSaidAndEveryAcceptedRequestIsAnswered) {
  EngineOptions options = fake_options();
  options.max_sequences = 2;
  options.max_queued = 5;
  Harness harness(options);
  RequestId accepted = 0;
  std::optional<Error> refusal;
  while (!refusal) {
    const auto result = harness.engine.submit(make_request(accepted, 5, 3));
    if (result) {
      ++accepted;
    } else {
      refusal = result.error();
    }
  }
  EXPECT_EQ(accepted, 7u);
  EXPECT_EQ(refusal->code, Code::kResourceExhausted);
  harness.drain();
  EXPECT_EQ(harness.answers.size(), 7u);
  EXPECT_TRUE(harness.engine.submit(make_request(100, 5, 3)));
  harness.drain();
}

TEST(Engine, SeedsReproduceAndRequestsWithoutOneDiffer) {
  Request request = make_request(1, 8, 30);
  const Answer first = alone(request)[0];
  EXPECT_EQ(alone(request)[0].tokens, first.tokens);
  request.sampling.seed = 99;
  EXPECT_NE(alone(request)[0].tokens, first.tokens);

  request.sampling.seed.reset();
  Harness harness;
  const Answer unseeded = harness.run(request);
  request.id = 2;
  EXPECT_NE(harness.run(request).tokens, unseeded.tokens);
}

TEST(Engine, LogprobsComeWithEachTokenAndAreTheModels) {
  Request request = make_request(1, 8, 6);
  request.sampling.temperature = 0;
  request.sampling.logprobs = 3;
  const Answer plain = alone(request)[0];
  ASSERT_EQ(plain.logprobs.size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(plain.logprobs[i].chosen.id, plain.tokens[i]);
    ASSERT_EQ(plain.logprobs[i].top.size(), 3u);
    EXPECT_EQ(plain.logprobs[i].top[0].id, plain.tokens[i]);
    EXPECT_EQ(plain.logprobs[i].top[0].logprob, plain.logprobs[i].chosen.logprob);
    EXPECT_GE(plain.logprobs[i].top[0].logprob, plain.logprobs[i].top[1].logprob);
  }
  request.sampling.logit_bias = {{plain.tokens[0], -100.0f}};
  const Answer biased = alone(request)[0];
  EXPECT_NE(biased.tokens[0], plain.tokens[0]);
  EXPECT_EQ(biased.logprobs[0].top[0].id, plain.tokens[0]);
  EXPECT_EQ(biased.logprobs[0].top[0].logprob, plain.logprobs[0].chosen.logprob);
}

TEST(Engine, ACancelledRequestFreesItsPagesAtTheNextStep) {
  Harness harness;
  harness.submit(make_request(1, 100, 0));
  harness.submit(make_request(2, 10, 20));
  for (int i = 0; i < 10; ++i) harness.step();
  EXPECT_GT(harness.engine.stats().kv_pages_used, 4);
  harness.engine.cancel(1);
  harness.engine.cancel(77);  // unknown: nothing happens
  harness.step();
  EXPECT_EQ(harness.engine.stats().running, 1);
  EXPECT_EQ(harness.engine.stats().kv_pages_used, 1);
  EXPECT_EQ(harness.answer(1).last.finish, FinishReason::kCancelled);
  EXPECT_EQ(harness.answer(1).last.prompt_tokens, 100);
  harness.drain();
  expect_same(harness.answer(2), alone(make_request(2, 10, 20))[0]);
}

TEST(Engine, AWaitingRequestCanBeCancelled) {
  EngineOptions options = fake_options();
  options.max_sequences = 1;
  Harness harness(options);
  harness.submit(make_request(1, 10, 5));
  Request several = make_request(2, 10, 5);
  several.choices = 3;
  harness.submit(several);
  harness.step();
  harness.engine.cancel(2);
  harness.engine.cancel(2);
  harness.drain();
  for (int choice = 0; choice < 3; ++choice) {
    EXPECT_EQ(harness.answer(2, choice).last.finish, FinishReason::kCancelled);
  }
  EXPECT_EQ(harness.answer(1).tokens.size(), 5u);
}

TEST(Engine, AnErrorOfTheExecutorFailsWhatRunsAndNotWhatWaits) {
  EngineOptions options = fake_options();
  options.max_sequences = 1;
  Harness harness(options);
  harness.submit(make_request(1, 10, 5));
  harness.submit(make_request(2, 10, 5));
  harness.step();
  harness.executor.failure = "rank 1 is gone";
  harness.step();
  harness.executor.failure.reset();
  harness.drain();
  EXPECT_EQ(harness.answer(1).last.finish, FinishReason::kError);
  EXPECT_EQ(harness.answer(1).last.error, "rank 1 is gone");
  expect_same(harness.answer(2), alone(make_request(2, 10, 5))[0]);
  EXPECT_EQ(harness.engine.stats().kv_pages_used, 0);
}

TEST(Engine, LogitsThatAreNoNumbersEndTheRequestWithAnError) {
  Harness harness;
  harness.executor.not_finite = true;
  const Answer answer = harness.run(make_request(1, 10, 5));
  EXPECT_EQ(answer.last.finish, FinishReason::kError);
  EXPECT_NE(answer.last.error.find("not finite"), std::string::npos);
}

// ---- prefix reuse ----

TEST(Engine, ASecondPromptReusesTheWholePagesOfTheFirst) {
  Harness harness;
  const Request first = make_request(1, 3 * kPage + 5, 4);
  harness.run(first);
  Request second = first;
  second.id = 2;
  second.prompt.resize(2 * kPage + 1);
  second.prompt.push_back(63);
  const int64_t rows_before = harness.executor.rows;
  const Answer answer = harness.run(second);
  EXPECT_EQ(answer.last.cached_tokens,
            2 * kPage + 1);  // the token after the pages comes from a copy
  EXPECT_EQ(harness.executor.rows - rows_before, 1 + 3);
  EXPECT_EQ(harness.executor.copies, 1);
  expect_same(answer, alone(second)[0]);
}

TEST(Engine, TheSamePromptAgainComputesOneToken) {
  for (const size_t length : {2 * kPage, 2 * kPage + 1}) {
    Harness harness;
    Request request = make_request(1, length, 2 * kPage);
    const Answer first = harness.run(request);
    request.id = 2;
    request.max_tokens = 1;
    const int64_t rows_before = harness.executor.rows;
    const Answer again = harness.run(request);
    EXPECT_EQ(harness.executor.rows - rows_before, 1);
    EXPECT_EQ(again.last.cached_tokens, static_cast<int32_t>(length) - 1);
    EXPECT_EQ(again.tokens[0], first.tokens[0]);
  }
}

TEST(Engine, GeneratedTokensAreReusedByTheNextTurn) {
  Harness harness;
  Request request = make_request(1, 10, 100);
  const Answer first = harness.run(request);
  Request next = make_request(2, 0, 10);
  next.prompt = request.prompt;
  next.prompt.insert(next.prompt.end(), first.tokens.begin(), first.tokens.end());
  next.prompt.push_back(17);
  const Answer answer = harness.run(next);
  EXPECT_EQ(answer.last.cached_tokens, 3 * kPage);
  expect_same(answer, alone(next)[0]);
}

TEST(Engine, PromptsThatPartInsideAPageShareACopyOfIt) {
  Harness harness;
  Request one = make_request(1, 2 * kPage, 3);
  harness.run(one);
  Request two = one;
  two.id = 2;
  two.prompt[kPage + 20] = 1 + two.prompt[kPage + 20] % 60;
  const Answer answer = harness.run(two);
  EXPECT_EQ(answer.last.cached_tokens, kPage + 20);
  expect_same(answer, alone(two)[0]);
  one.id = 3;
  expect_same(harness.run(one), alone(one)[0]);
}

TEST(Engine, OldPrefixesMakeRoomForNewRequests) {
  EngineOptions options = fake_options();
  options.kv_pages = 8;
  Harness harness(options);
  for (RequestId id = 0; id < 20; ++id) {
    const Request request = make_request(id, 5 * kPage + id, 20);
    expect_same(harness.run(request), alone(request, 8 * kPage)[0]);
    EXPECT_EQ(harness.engine.stats().kv_pages_used, 0);
    EXPECT_LE(harness.engine.stats().kv_pages_cached, 8);
  }
}

// ---- fairness ----

TEST(Engine, ALongPromptDoesNotStopOthersTokens) {
  Harness harness;
  harness.submit(make_request(1, 5, 300));
  harness.step();
  harness.submit(make_request(2, 4000, 1));
  for (int step = 0; harness.answer(2).tokens.empty(); ++step) {
    ASSERT_LT(step, 100);
    const size_t before = harness.answer(1).tokens.size();
    harness.step();
    EXPECT_EQ(harness.answer(1).tokens.size(), before + 1);
    EXPECT_LE(harness.executor.plans.back().tokens.size(), 64u + 1u);
  }
}

TEST(Engine, AShortPromptOvertakesALongOneThatIsBeingRead) {
  Harness harness;
  harness.submit(make_request(1, 4000, 1));
  harness.step();
  harness.submit(make_request(2, 20, 1));
  harness.step();
  EXPECT_EQ(harness.answer(2).tokens.size(), 1u);
  EXPECT_TRUE(harness.answer(1).tokens.empty());
}

TEST(Engine, PromptsShareTheChunkEvenlyAndUseAllOfIt) {
  Harness harness;
  harness.submit(make_request(1, 1000, 1));
  harness.submit(make_request(2, 1000, 1));
  harness.submit(make_request(3, 10, 1));
  harness.step();
  std::map<int32_t, int32_t> runs_by_rows;
  for (const auto& run : harness.executor.plans.back().runs) ++runs_by_rows[run.rows];
  EXPECT_EQ(runs_by_rows, (std::map<int32_t, int32_t>{{10, 1}, {27, 2}}));
}

TEST(Engine, MorePromptsThanRowsTakeTurns) {
  EngineOptions options = fake_options();
  options.chunk_tokens = 2;
  Harness harness(options);
  for (RequestId id = 0; id < 8; ++id) harness.submit(make_request(id, 9, 1));
  for (int step = 0; step < 8 * 9 / 2 + 8; ++step) harness.step();
  EXPECT_TRUE(harness.engine.idle());
}

// ---- when pages run out ----

TEST(Engine, WithStagesAPromptsChunksFollowEachOtherWithoutWaiting) {
  Harness harness(fake_options(), 3);
  harness.submit(make_request(1, 64 * 5 + 1, 4));
  harness.step();
  EXPECT_EQ(harness.executor.most_begun, 3u);
  EXPECT_EQ(harness.executor.plans.size(), 1u);
  harness.drain();
  EXPECT_EQ(harness.executor.plans.size(), 6u + 3u);
  expect_same(harness.answer(1), alone(make_request(1, 64 * 5 + 1, 4))[0]);
}

TEST(Engine, WithStagesDecodingSequencesShareTheSteps) {
  Harness harness(fake_options(), 2);
  for (RequestId id = 0; id < 5; ++id) harness.submit(make_request(id, 3, 40));
  for (int step = 0; step < 6; ++step) harness.step();
  const size_t before = harness.executor.plans.size();
  for (int step = 0; step < 4; ++step) harness.step();
  std::multiset<size_t> runs;
  for (size_t i = before; i < harness.executor.plans.size(); ++i)
    runs.insert(harness.executor.plans[i].runs.size());
  EXPECT_EQ(runs, (std::multiset<size_t>{2, 2, 3, 3}));
  harness.drain();
  for (RequestId id = 0; id < 5; ++id)
    expect_same(harness.answer(id), alone(make_request(id, 3, 40))[0]);
}

TEST(Engine, ACancelledRequestsStepsAreStillFinished) {
  Harness harness(fake_options(), 3);
  harness.submit(make_request(1, 64 * 4, 4));
  harness.step();
  harness.engine.cancel(1);
  harness.submit(make_request(2, 100, 20));
  harness.drain();
  EXPECT_EQ(harness.answer(1).last.finish, FinishReason::kCancelled);
  EXPECT_EQ(harness.executor.plans[2].runs[0].first_position,
            128);  // begun before it was cancelled
  expect_same(harness.answer(2), alone(make_request(2, 100, 20))[0]);
  EXPECT_EQ(harness.engine.stats().kv_pages_used, 0);
}

TEST(Engine, TheYoungestGoesBackWhenPagesRunOutAndNothingChanges) {
  EngineOptions options = fake_options();
  options.kv_pages = 10;
  Harness harness(options);
  std::vector<Request> requests;
  for (RequestId id = 0; id < 4; ++id) requests.push_back(make_request(id, 30, 200));
  for (const Request& request : requests) harness.submit(request);
  harness.drain();
  EXPECT_GT(harness.engine.stats().preemptions, 0u);
  for (const Request& request : requests) {
    expect_same(harness.answer(request.id), alone(request, 10 * kPage)[0]);
    EXPECT_EQ(harness.answer(request.id).last.cached_tokens, 0);
  }
  EXPECT_EQ(harness.engine.stats().kv_pages_used, 0);
}

TEST(Engine, TheOldestIsNeverSentBack) {
  EngineOptions options = fake_options();
  options.kv_pages = 9;
  Harness harness(options);
  for (RequestId id = 0; id < 4; ++id) {
    harness.submit(make_request(id, 30, 200));
    harness.step();
  }
  while (harness.answer(0).last.finish == FinishReason::kNone) {
    const size_t before = harness.answer(0).tokens.size();
    harness.step();
    ASSERT_EQ(harness.answer(0).tokens.size(), before + 1);
  }
  EXPECT_GT(harness.engine.stats().preemptions, 0u);
  harness.drain();
}

TEST(Engine, ABigRequestIsNotOvertakenForEver) {
  EngineOptions options = fake_options();
  options.kv_pages = 10;
  Harness harness(options);
  harness.submit(make_request(0, 60, 40));
  harness.step();
  harness.submit(make_request(1, 9 * kPage, 2));
  for (RequestId id = 2; id < 10; ++id) harness.submit(make_request(id, 5, 30));
  while (harness.answer(1).tokens.empty()) {
    harness.step();
    for (RequestId id = 2; id < 10; ++id) ASSERT_TRUE(harness.answer(id).tokens.empty());
  }
  harness.drain();
  EXPECT_EQ(harness.answers.size(), 10u);
}

// ---- several choices ----

TEST(Engine, ChoicesSampleWithTheirOwnSeedsAndShareThePrompt) {
  for (const size_t length : {2 * kPage, 2 * kPage + 7}) {
    Request request = make_request(1, length, 50);
    request.choices = 4;
    Harness harness;
    harness.submit(request);
    harness.drain();
    EXPECT_EQ(harness.executor.rows, static_cast<int64_t>(length) + 4 * 49);
    for (int32_t choice = 0; choice < 4; ++choice) {
      Request single = request;
      single.choices = 1;
      single.sampling.seed = *request.sampling.seed + static_cast<uint64_t>(choice);
      expect_same(harness.answer(1, choice), alone(single)[0]);
      EXPECT_EQ(harness.answer(1, choice).last.prompt_tokens, static_cast<int32_t>(length));
    }
    EXPECT_NE(harness.answer(1, 0).tokens, harness.answer(1, 1).tokens);
    EXPECT_EQ(harness.engine.stats().kv_pages_used, 0);
  }
}

TEST(Engine, MoreChoicesThanFitRunLater) {
  Request request = make_request(1, 40, 60);
  request.choices = 12;
  EngineOptions options = fake_options();
  options.max_sequences = 3;
  options.kv_pages = 7;
  Harness harness(options);
  harness.submit(request);
  harness.drain();
  auto want = alone(request, 7 * kPage);
  ASSERT_EQ(want.size(), 12u);
  for (int32_t choice = 0; choice < 12; ++choice)
    expect_same(harness.answer(1, choice), want[choice]);
}

// ---- continuing what an earlier placement began ----

TEST(Engine, AContinuedAnswerGoesOnAsIfNothingHadHappened) {
  Request request = make_request(1, 50, 60);
  request.sampling.repetition_penalty = 1.3f;
  request.sampling.frequency_penalty = 0.2f;
  const Answer whole = alone(request)[0];
  request.stop = {whole.text.substr(30, 5)};
  const Answer stopped = alone(request)[0];
  for (size_t cut = 0; cut < stopped.tokens.size(); ++cut) {
    Harness before;
    before.submit(request);
    while (before.answer(1).tokens.size() < cut) before.step();
    Request rest = request;
    rest.generated = before.answer(1).tokens;
    Harness after;
    const Answer answer = after.run(rest);
    EXPECT_EQ(before.answer(1).text + answer.text, stopped.text) << "cut after " << cut;
    EXPECT_EQ(answer.tokens.size(), stopped.tokens.size() - cut);
    EXPECT_EQ(answer.last.completion_tokens, stopped.last.completion_tokens);
    EXPECT_EQ(answer.last.prompt_tokens, 50);
    EXPECT_EQ(answer.last.finish, FinishReason::kStop);
  }
}

TEST(Engine, AContinuedAnswerThatIsCompleteEndsAtOnce) {
  Request request = make_request(1, 10, 8);
  request.generated = alone(request)[0].tokens;
  Harness harness;
  harness.submit(request);
  EXPECT_FALSE(harness.engine.idle());
  harness.step();
  EXPECT_TRUE(harness.engine.idle());
  EXPECT_EQ(harness.answer(1).last.finish, FinishReason::kLength);
  EXPECT_EQ(harness.answer(1).last.completion_tokens, 8);
  EXPECT_EQ(harness.executor.rows, 0);
}

}  // namespace
}  // namespace cohort::engine

#include "runner/local_ranks.h"

#include "base/check.h"
#include "base/log.h"

namespace cohort::runner {

// A model with its cache, once every rank has got as far.
Result<LoadedModel> LocalRanks::load(const LocalRanksOptions& options, const Placement& placement,
                                     transport::Group& group) {
  LoadCommand command = options.command;
  command.backend = options.backends[static_cast<size_t>(placement.rank) % options.backends.size()];
  if (!options.paces.empty()) command.pace = options.paces[static_cast<size_t>(placement.rank)];
  COHORT_TRY(LoadedModel model, load_model(command, placement, {}));
  backend::KvSpec spec = model.model->info().kv;
  COHORT_TRY(spec.type, parse_kv_type(options.command.kv_type));
  COHORT_TRY_VOID(model.backend->create_kv(spec, options.kv_pages));
  weight_bytes_ += model.backend->info().weight_bytes;
  COHORT_TRY_VOID(group.barrier(transport::Deadline::after(kStepLimit)));
  return model;
}

void LocalRanks::serve(const LocalRanksOptions& options, const Placement& placement,
                       transport::Group& group) {
  auto model = load(options, placement, group);
  if (!model) return group.abort(model.error().message);
  Rank rank(*model->backend, *model->model, group, placement);
  Result<void> done = rank.stage().tune(transport::Deadline::after(kStepLimit));
  if (done) done = follow(rank, options.kv_pages);
  if (!done) log::debug("rank {}: {}", placement.rank, done.error().message);
}

Result<void> LocalRanks::start_first(const LocalRanksOptions& options, const Placement& placement) {
  COHORT_TRY(LoadedModel model, load(options, placement, *groups_[0]));
  auto rank = std::make_unique<Rank>(*model.backend, *model.model, *groups_[0], placement);
  COHORT_TRY_VOID(rank->stage().tune(transport::Deadline::after(kStepLimit)));
  first_.reset(new First{std::move(model), std::move(rank)});
  return {};
}

Result<std::unique_ptr<LocalRanks>> LocalRanks::start(const LocalRanksOptions& options) {
  COHORT_CHECK(options.command.group.has_value());
  const GroupLayout& layout = *options.command.group;
  COHORT_TRY(const Placement placement, place_rank(layout, 0));
  std::unique_ptr<LocalRanks> ranks(new LocalRanks());
  COHORT_TRY(ranks->groups_, transport::make_local_groups({.size = rank_count(layout),
                                                           .type = options.links,
                                                           .secret = options.secret,
                                                           .path = options.path,
                                                           .group = {.wire = placement.wire}}));
  for (int32_t r = 1; r < rank_count(layout); ++r) {
    ranks->others_.emplace_back(
        [self = ranks.get(), options, r, group = ranks->groups_[static_cast<size_t>(r)].get()] {
          self->serve(options, place_rank(*options.command.group, r).value(), *group);
        });
  }
  Result<void> started = ranks->start_first(options, placement);
  if (started) return ranks;
  ranks->groups_[0]->abort(started.error().message);
  return tl::unexpected(std::move(started).error());
}

LocalRanks::~LocalRanks() {
  if (first_) first_->executor.end();
  for (std::thread& thread : others_) thread.join();
}

}  // namespace cohort::runner

// The command line: what each command takes, where defaults come from (flags, then COHORT_* variables, then config.toml),
// and which function does it. The commands themselves are in the files beside.
#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdlib>
#include <functional>

#include "base/bytes.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/model_store.h"
#include "cli/serve_flags.h"
#include "cli/terminal.h"
#include "cluster/cost.h"
#include "runner/runner.h"

namespace cohort::cli {
namespace {

using Action = std::function<int()>;

// Everything the flags write to; lives as long as main().
struct Options {
  Common common;
  StoreOptions store;
  ServeFlags serve;
  RunOptions run;
  PlaceOptions place;
  VerifyOptions verify;
  PerplexityOptions perplexity;
  BenchOptions bench;
  TokenizeOptions tokenize;
  std::string model;
  std::string query;
  int32_t wait_for = 0;
  bool once = false;
  int32_t calibrate_threads = 0;
  std::string calibrate_backend = "auto";
  std::vector<int64_t> read_windows_ms;
  std::string secret_action = "show";
  std::string secret_value;
  std::filesystem::path path;
  int runner_fd = -1;
  CLI::App* serve_command = nullptr;
  Action action;
};

void add_common(CLI::App& command, Options& options) {
  command.add_option("--api", options.common.api, "URL of the device to talk to")
      ->envname("COHORT_API");
  command.add_option("--api-key", options.common.api_key, "key of its API")
      ->envname("COHORT_API_KEY");
  command.add_flag("--json", options.common.json, "print JSON");
}

void add_store(CLI::App& command, Options& options) {
  command.add_option("--data-dir", options.store.data_dir, "where models are kept")
      ->envname("COHORT_DATA_DIR");
  command
      .add_option("--models-dir", options.store.models_dirs,
                  "a further folder of models, read only (repeatable)")
      ->envname("COHORT_MODELS_DIR");
  command.add_flag("--offline", options.store.offline, "never use the internet")
      ->envname("COHORT_OFFLINE");
}

CLI::App& add_command(CLI::App& app, const char* name, const char* what, Options& options,
                      Action action) {
  CLI::App* command = app.add_subcommand(name, what);
  command->callback([&options, action = std::move(action)] { options.action = action; });
  return *command;
}

CLI::App& add_model_command(CLI::App& app, const char* name, const char* what, Options& options,
                            Action action) {
  CLI::App& command = add_command(app, name, what, options, std::move(action));
  command.add_option("model", options.model, "card name, repository id, folder or file, or demo")
      ->required();
  add_common(command, options);
  add_store(command, options);
  return command;
}

void add_transport(CLI::App& command, std::string& transport) {
  std::vector<std::string> names{"auto"};
  names.insert(names.end(), cluster::kTransports.begin(), cluster::kTransports.end());
  command.add_option("--transport", transport, "between each pair of devices")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
}

void add_run(CLI::App& app, Options& o) {
  CLI::App& run_command = add_command(app, "run", "chat in the terminal, or answer one prompt", o,
                                      [&o] { return run(o.common, o.store, o.run); });
  run_command.add_option("model", o.run.model, "card name, repository id, folder or file, or demo")
      ->required();
  run_command.add_option("prompt", o.run.prompt,
                         "one prompt; without it a chat, or standard input");
  run_command.add_option("--max-tokens", o.run.max_tokens, "longest answer")
      ->check(CLI::PositiveNumber);
  run_command.add_option("--temperature", o.run.temperature, "0 = always the likeliest token")
      ->check(CLI::Range(0.0, 2.0));
  run_command.add_option("--seed", o.run.seed, "the same seed gives the same answer");
  run_command.add_option("--system", o.run.system, "system message");
  run_command.add_option("--devices", o.run.devices, "place it on exactly so many first")
      ->check(CLI::PositiveNumber);
  run_command.add_option("--sharding", o.run.sharding, "place it so first")
      ->check(CLI::IsMember({"auto", "pipeline", "tensor"}))
      ->capture_default_str();
  add_transport(run_command, o.run.transport);
  run_command.add_flag("--stats", o.run.stats, "tokens and speed after each answer");
  add_common(run_command, o);
  add_store(run_command, o);
}

void add_wishes(CLI::App& command, PlaceOptions& wishes) {
  command.add_option("model", wishes.model, "card name, repository id, folder or file, or demo")
      ->required();
  command.add_option("--devices", wishes.devices, "exactly so many; default as many as pay")
      ->check(CLI::PositiveNumber);
  command.add_option("--sharding", wishes.sharding)
      ->check(CLI::IsMember({"auto", "pipeline", "tensor"}))
      ->capture_default_str();
  command.add_option("--only", wishes.only, "name or id of a device that may be used (repeatable)");
  command.add_option("--layers", wishes.layers,
                     "DEVICE=FIRST-LAST, counted from 0 (repeatable, in order): a pipeline by "
                     "hand; devices of the same layers share them");
  command.add_option("--context", wishes.context, "positions a request may take")
      ->check(CLI::PositiveNumber);
  command.add_option("--concurrency", wishes.concurrency, "requests at once")
      ->check(CLI::PositiveNumber);
  command.add_option("--prompt", wishes.prompt, "tokens of a prompt, for what is predicted (512)")
      ->check(CLI::PositiveNumber);
  command.add_option("--answer", wishes.answer, "tokens of an answer, for the same (128)")
      ->check(CLI::PositiveNumber);
  command.add_option("--wire", wishes.wire, "of values between devices")
      ->check(CLI::IsMember({"f32", "bf16", "q8"}))
      ->capture_default_str();
  add_transport(command, wishes.transport);
}

void add_instance_commands(CLI::App& app, Options& o) {
  CLI::App& place_command = add_command(app, "place", "start an instance of a model", o,
                                        [&o] { return place(o.common, o.place); });
  add_wishes(place_command, o.place);
  place_command.add_option("--replicas", o.place.replicas, "instances of it")
      ->check(CLI::Range(1, 32))
      ->capture_default_str();
  place_command.add_flag("--wait", o.place.wait, "return when it is ready");
  add_common(place_command, o);
  CLI::App& plan_command =
      add_command(app, "plan", "how a model could be placed, best first, and why", o,
                  [&o] { return plan(o.common, o.place); });
  add_wishes(plan_command, o.place);
  add_common(plan_command, o);
  add_common(add_command(app, "ps", "instances that run", o, [&o] { return ps(o.common); }), o);
  CLI::App& stop_command = add_command(app, "stop", "end an instance, or all of a model", o,
                                       [&o] { return stop(o.common, o.model); });
  stop_command.add_option("instance", o.model, "instance id or model")->required();
  add_common(stop_command, o);
  CLI::App& devices_command = add_command(app, "devices", "devices and links as measured", o,
                                          [&o] { return devices(o.common, o.wait_for); });
  devices_command
      .add_option("--wait-for", o.wait_for, "until so many devices are there and measured")
      ->check(CLI::PositiveNumber);
  add_common(devices_command, o);
}

void add_looking_commands(CLI::App& app, Options& o) {
  CLI::App& top_command = add_command(app, "top", "the cluster, live in the terminal", o,
                                      [&o] { return top(o.common, o.once); });
  top_command.add_flag("--once", o.once, "print one frame and end");
  add_common(top_command, o);
  CLI::App& doctor_command =
      add_command(app, "doctor", "what may be wrong with this machine, and what to do", o,
                  [&o] { return doctor(o.common, o.store); });
  add_common(doctor_command, o);
  add_store(doctor_command, o);
}

void add_secret(CLI::App& app, Options& o) {
  CLI::App& command =
      add_command(app, "secret", "the cluster's secret: show, new, or set", o,
                  [&o] { return secret(o.common, o.secret_action, o.secret_value); });
  command.add_option("action", o.secret_action)
      ->check(CLI::IsMember({"show", "new", "set"}))
      ->capture_default_str();
  command.add_option("value", o.secret_value, "for set");
  add_common(command, o);
}

void add_store_commands(CLI::App& app, Options& o) {
  add_model_command(app, "pull", "download a model", o,
                    [&o] { return pull(o.common, o.store, o.model); });
  add_model_command(app, "rm", "delete a model from this device", o,
                    [&o] { return rm(o.common, o.store, o.model); });
  add_model_command(app, "show", "what a model is", o,
                    [&o] { return show(o.common, o.store, o.model); });
  CLI::App& ls_command =
      add_command(app, "ls", "models on this device", o, [&o] { return ls(o.common, o.store); });
  add_common(ls_command, o);
  add_store(ls_command, o);
  CLI::App& search_command = add_command(app, "search", "search cards and the hub", o,
                                         [&o] { return search(o.common, o.store, o.query); });
  search_command.add_option("query", o.query)->required();
  add_common(search_command, o);
  add_store(search_command, o);
  CLI::App& import_command =
      add_command(app, "import", "copy a folder or file into the model store", o,
                  [&o] { return import(o.common, o.store, o.path); });
  import_command.add_option("path", o.path)->required()->check(CLI::ExistingPath);
  add_common(import_command, o);
  add_store(import_command, o);
}

void add_verify(CLI::App& app, Options& o) {
  CLI::App& command = add_command(app, "verify", "compare a checkpoint's golden logits", o,
                                  [&o] { return verify(o.common, o.verify); });
  command.add_option("folder", o.verify.folder, "checkpoint with golden.safetensors")->required();
  command.add_option("--math", o.verify.math)
      ->check(CLI::IsMember({"f32", "fast", "int8"}))
      ->capture_default_str();
  command.add_option("--backend", o.verify.backends, "of each rank in turn, a list")
      ->delimiter(',')
      ->check(CLI::IsMember({"auto", "cpu", "mlx"}));
  command.add_option("--chunk", o.verify.chunk, "rows of prefill at once; 0 = all")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--tolerance", o.verify.tolerance, "largest difference that passes")
      ->capture_default_str();
  command.add_option("--threads", o.verify.threads)->check(CLI::NonNegativeNumber);
  command.add_option("--ranks", o.verify.ranks, "cut the model over so many, in this process")
      ->check(CLI::PositiveNumber);
  command.add_option("--sharding", o.verify.sharding)
      ->check(CLI::IsMember({"tensor", "pipeline", "pipeline+tensor"}))
      ->capture_default_str();
  command.add_option("--fractions", o.verify.fractions, "each rank's part, a list that sums to 1")
      ->delimiter(',');
  command.add_option("--transport", o.verify.transport, "between the ranks")
      ->check(CLI::IsMember({"tcp", "shm", "verbs", "verbs-uc", "verbs-mac", "ucx"}))
      ->capture_default_str();
  command.add_option("--wire", o.verify.wire, "of values between the ranks")
      ->check(CLI::IsMember({"f32", "bf16", "q8"}))
      ->capture_default_str();
  add_common(command, o);
}

void add_perplexity(CLI::App& app, Options& o) {
  CLI::App& command = add_command(app, "perplexity", "how well a model foretells a text", o,
                                  [&o] { return perplexity(o.common, o.store, o.perplexity); });
  command.add_option("model", o.perplexity.model)->required();
  command.add_option("file", o.perplexity.file, "a text; - for standard input")->required();
  command.add_option("--context", o.perplexity.context, "tokens of a window")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command.add_option("--windows", o.perplexity.windows, "read no more than so many; 0 = all")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--chunk", o.perplexity.chunk, "tokens a step; 1 = as in decoding")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command.add_option("--math", o.perplexity.math)
      ->check(CLI::IsMember({"f32", "fast", "int8"}))
      ->capture_default_str();
  command.add_option("--kv-type", o.perplexity.kv_type, "default f16, f32 with --math f32")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8"}));
  command.add_option("--against", o.perplexity.against, "print KL from this model, too");
  command
      .add_option("--against-math", o.perplexity.against_math,
                  "of the other, or of the same model; default f32")
      ->check(CLI::IsMember({"f32", "fast", "int8"}));
  command.add_option("--threads", o.perplexity.threads)->check(CLI::NonNegativeNumber);
  add_common(command, o);
  add_store(command, o);
}

void add_bench(CLI::App& app, Options& o) {
  CLI::App& command =
      add_command(app, "bench", "measure prefill and decode beside the machine's limits", o,
                  [&o] { return bench(o.common, o.store, o.bench); });
  CLI::Option* model = command.add_option("model", o.bench.model);
  CLI::Option* shape =
      command.add_option("--shape", o.bench.shape, "random weights of a shape: 1b-q4, 0.6b-q8...")
          ->excludes(model);
  command.add_option("--write", o.bench.write, "write the shape's model into this folder, no more")
      ->needs(shape);
  command.add_option("--pp", o.bench.pp, "prompt tokens")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--tg", o.bench.tg, "generated tokens")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--depth", o.bench.depth, "positions before the prompt, for long contexts")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--concurrency", o.bench.concurrency, "streams at once, a list")
      ->delimiter(',');
  command.add_option("--repeat", o.bench.repeat, "runs; medians are reported")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--threads", o.bench.threads)->check(CLI::NonNegativeNumber);
  command.add_option("--ranks", o.bench.ranks, "cut the model over so many, in this process")
      ->check(CLI::PositiveNumber);
  command.add_option("--sharding", o.bench.sharding)
      ->check(CLI::IsMember({"tensor", "pipeline", "pipeline+tensor"}))
      ->capture_default_str();
  command.add_option("--transport", o.bench.transport, "between the ranks")
      ->check(CLI::IsMember({"tcp", "shm", "verbs", "verbs-uc", "verbs-mac", "ucx"}))
      ->capture_default_str();
  command.add_option("--wire", o.bench.wire, "of values between the ranks")
      ->check(CLI::IsMember({"f32", "bf16", "q8"}))
      ->capture_default_str();
  command.add_flag("--encrypt", o.bench.encrypt, "links of tcp, as devices do");
  command.add_option("--link-mbit", o.bench.link_mbit_per_s, "slow each link down to this rate")
      ->check(CLI::PositiveNumber);
  command.add_option("--link-delay-us", o.bench.link_delay_us, "and by so much one way")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--pace", o.bench.paces, "hold each rank to this part of its pace: 1,0.5")
      ->delimiter(',')
      ->check(CLI::Range(0.01, 1.0));
  command.add_option("--backend", o.bench.backend)
      ->check(CLI::IsMember({"auto", "cpu", "mlx"}))
      ->capture_default_str();
  command.add_option("--math", o.bench.math)
      ->check(CLI::IsMember({"f32", "fast", "int8"}))
      ->capture_default_str();
  command.add_option("--kv-type", o.bench.kv_type)
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8"}))
      ->capture_default_str();
  add_common(command, o);
  add_store(command, o);
}

void add_text_commands(CLI::App& app, Options& o) {
  CLI::App& tokenize_command = add_command(app, "tokenize", "text to token ids", o, [&o] {
    return tokenize(o.common, o.store, o.tokenize);
  });
  tokenize_command.add_option("model", o.tokenize.model)->required();
  tokenize_command.add_option("text", o.tokenize.text,
                              "the text, or ids with --decode; default standard input");
  tokenize_command.add_flag("--decode", o.tokenize.decode, "ids to text");
  add_common(tokenize_command, o);
  add_store(tokenize_command, o);
  CLI::App& template_command =
      add_model_command(app, "template", "render a chat request with a model's template", o,
                        [&o] { return render_template(o.common, o.store, o.model, o.path); });
  template_command.add_option("file", o.path, "a chat request as JSON; - for standard input")
      ->required();
}

int serve_with_config(Options& o) {
  if (const Result<void> applied = apply_config_file(*o.serve_command); !applied)
    return report(applied.error());
  return serve(o.serve, o.store);
}

void add_serve(CLI::App& app, Options& o) {
  CLI::App& command =
      add_command(app, "serve", "start this device", o, [&o] { return serve_with_config(o); });
  add_serve_flags(command, o.serve);
  add_store(command, o);
  o.serve_command = &command;
  CLI::App& runner =
      add_command(app, "runner", "", o, [&o] { return runner::run_runner(o.runner_fd); });
  runner.add_option("--fd", o.runner_fd)->required();
  runner.group("");  // what the daemon starts; not for people
  CLI::App& calibrate_command = add_command(app, "calibrate", "", o, [&o] {
    return calibrate(o.calibrate_threads, o.calibrate_backend);
  });
  calibrate_command.add_option("--threads", o.calibrate_threads);
  calibrate_command.add_option("--backend", o.calibrate_backend);
  calibrate_command.group("");
  CLI::App& read_command = add_command(app, "read-memory", "", o, [&o] {
    return read_memory(o.calibrate_threads, o.calibrate_backend, o.read_windows_ms);
  });
  read_command.add_option("--threads", o.calibrate_threads);
  read_command.add_option("--backend", o.calibrate_backend);
  read_command.add_option("--windows", o.read_windows_ms)->delimiter(',');
  read_command.group("");
}

int main_with(int argc, char** argv) {
  Options options;
  CLI::App app{"cohort joins the computers you own into one AI cluster"};
  app.require_subcommand(0, 1);
  app.fallthrough(false);
  app.set_help_all_flag("--help-all", "help of every command");
  add_serve(app, options);
  add_run(app, options);
  add_instance_commands(app, options);
  add_looking_commands(app, options);
  add_secret(app, options);
  add_store_commands(app, options);
  add_verify(app, options);
  add_perplexity(app, options);
  add_bench(app, options);
  add_text_commands(app, options);
  add_common(add_command(app, "version", "version of this binary", options,
                         [&] { return version(options.common); }),
             options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? kExitFine : kExitUsage;
  }
  for (const CLI::App* command : app.get_subcommands()) {
    const CLI::Option* api = command->get_option_no_throw("--api");
    options.common.api_given = api != nullptr && api->count() > 0;
    const CLI::Option* tolerance = command->get_option_no_throw("--tolerance");
    options.verify.tolerance_given = tolerance != nullptr && tolerance->count() > 0;
  }
  if (app.get_subcommands().empty()) return serve_with_config(options);
  return options.action();
}

}  // namespace
}  // namespace cohort::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  return cohort::cli::main_with(argc, argv);
}

// The parts of the mesh that do no I/O.
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "mesh/beacon.h"
#include "mesh/candidates.h"
#include "mesh/frame.h"
#include "mesh/hello.h"
#include "mesh/identity.h"
#include "mesh/interfaces.h"
#include "mesh/refusals.h"
#include "mesh/remembered.h"

namespace cohort::mesh {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

class Folder {
 public:
  Folder() : path_(::testing::TempDir() + "mesh" + std::to_string(::getpid())) {
    fs::remove_all(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(Identity, StaysTheSameOverRestartsAndIsReadByTheOwnerAlone) {
  const Folder folder;
  const auto first = Identity::load_or_create(folder.path()),
             second = Identity::load_or_create(folder.path());
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->id(), second->id());
  EXPECT_EQ(first->id().size(), 32u);
  struct stat status = {};
  ASSERT_EQ(::stat((folder.path() + "/device-key").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_NE(Identity::load_or_create("")->id(), first->id());
}

TEST(Identity, ABrokenKeyFileIsAnErrorAndIsLeftAlone) {
  const Folder folder;
  fs::create_directories(folder.path());
  std::ofstream(folder.path() + "/device-key") << "short";
  EXPECT_EQ(Identity::load_or_create(folder.path()).error().code, Code::kDataLoss);
  EXPECT_EQ(fs::file_size(folder.path() + "/device-key"), 5u);
}

TEST(Identity, ASignatureHoldsForItsKeyAndBytesOnly) {
  const auto one = Identity::load_or_create(""), other = Identity::load_or_create("");
  const std::string signature = one->sign("bytes").value();
  EXPECT_TRUE(verify_signature(one->public_key(), "bytes", signature));
  EXPECT_FALSE(verify_signature(one->public_key(), "other", signature));
  EXPECT_FALSE(verify_signature(other->public_key(), "bytes", signature));
  EXPECT_FALSE(verify_signature("short", "bytes", signature));
  EXPECT_FALSE(verify_signature(one->public_key(), "bytes", ""));
}

TEST(GroupKeys, DependOnNamespaceAndSecret) {
  const GroupKeys keys = derive_group_keys("home", "secret");
  EXPECT_EQ(keys.link_key, derive_group_keys("home", "secret").link_key);
  EXPECT_NE(keys.link_key, derive_group_keys("work", "secret").link_key);
  EXPECT_NE(keys.link_key, derive_group_keys("home", "other").link_key);
  EXPECT_NE(keys.link_key, keys.beacon_key);
}

Hello hello_of(const Identity& identity) {
  return {.id = identity.id(),
          .public_key = to_hex(identity.public_key()),
          .name = "device\n",
          .cluster_namespace = "home",
          .boot_unix_ms = 5,
          .mesh_port = 7};
}

TEST(Hello, ComesBackAsItWasWithAPrintableName) {
  const auto identity = Identity::load_or_create("");
  const std::string bytes = encode_hello(hello_of(*identity), *identity, 'd', "binding").value();
  const auto hello = decode_hello(bytes, 'd', "binding", "home");
  ASSERT_TRUE(hello);
  EXPECT_EQ(hello->id, identity->id());
  EXPECT_EQ(hello->name, "device?");
  EXPECT_EQ(hello->mesh_port, 7);
}

TEST(Hello, OfAnotherChannelRoleNamespaceOrKeyIsRefused) {
  const auto identity = Identity::load_or_create(""), imposter = Identity::load_or_create("");
  const std::string bytes = encode_hello(hello_of(*identity), *identity, 'd', "binding").value();
  EXPECT_FALSE(decode_hello(bytes, 'd', "replayed", "home"));
  EXPECT_FALSE(decode_hello(bytes, 'l', "binding", "home"));
  EXPECT_FALSE(decode_hello(bytes, 'd', "binding", "work"));
  // Another's id and key, signed with our own key; then another's id with our own key.
  const std::string forged = encode_hello(hello_of(*identity), *imposter, 'd', "binding").value();
  EXPECT_FALSE(decode_hello(forged, 'd', "binding", "home"));
  Hello stolen = hello_of(*imposter);
  stolen.id = identity->id();
  const std::string mixed = encode_hello(stolen, *imposter, 'd', "binding").value();
  EXPECT_FALSE(decode_hello(mixed, 'd', "binding", "home"));
}

TEST(Hello, CutAtAnyByteIsAnErrorAndNoCrash) {
  const auto identity = Identity::load_or_create("");
  const std::string bytes = encode_hello(hello_of(*identity), *identity, 'd', "binding").value();
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_hello(bytes.substr(0, size), 'd', "binding", "home"));
}

TEST(Hello, ALongNameIsCutBetweenCharacters) {
  const std::string name = short_name(std::string(kMaxNameBytes - 1, 'x') + "ä");
  EXPECT_EQ(name, std::string(kMaxNameBytes - 1, 'x'));
}

TEST(Versions, TheHighestCommonOneIsTakenAndNoneIsExplained) {
  const Hello ours = {.min_version = 2, .max_version = 4};
  EXPECT_EQ(agree_on_version(ours, {.min_version = 1, .max_version = 3}).value(), 3u);
  EXPECT_EQ(agree_on_version(ours, {.min_version = 4, .max_version = 9}).value(), 4u);
  const auto none = agree_on_version(ours, {.min_version = 5, .max_version = 6});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message,
            "it speaks versions 5 to 6 of the protocol, we 2 to 4; update the older one");
}

TEST(Beacon, ComesBackAsItWasAndTellsWhyAnotherIsNotOurs) {
  const auto identity = Identity::load_or_create("");
  const Beacon beacon = {.id = identity->id(), .boot_unix_ms = 3, .mesh_port = 9};
  const GroupKeys keys = derive_group_keys("home", "secret");
  const std::string bytes = encode_beacon(beacon, keys);
  const auto back = decode_beacon(bytes, keys);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->id, beacon.id);
  EXPECT_EQ(back->boot_unix_ms, 3u);
  EXPECT_EQ(back->mesh_port, 9);
  const auto why = [&](const char* cluster_namespace, const char* secret) {
    return decode_beacon(bytes, derive_group_keys(cluster_namespace, secret)).error().message;
  };
  EXPECT_EQ(why("work", "secret"), "its namespace is another one");
  EXPECT_EQ(why("home", "other"), "its secret is another one");
  EXPECT_EQ(why("home", ""), "it has a secret, and we have none");
}

TEST(Beacon, EveryChangedBitAndEveryCutIsNoticed) {
  const auto identity = Identity::load_or_create("");
  const GroupKeys keys = derive_group_keys("home", "");
  const std::string bytes = encode_beacon({.id = identity->id()}, keys);
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] ^= 4;
    EXPECT_FALSE(decode_beacon(changed, keys)) << i;
    EXPECT_FALSE(decode_beacon(bytes.substr(0, i), keys)) << i;
  }
  EXPECT_FALSE(decode_beacon(std::string(kMaxBeaconBytes + 1, 'x'), keys));
}

void feed(FrameReader& reader, std::string_view bytes) {
  bytes.copy(reader.space().data(), bytes.size());
  reader.received(bytes.size());
}

TEST(FrameReader, CutsAnyPiecesIntoTheSameFrames) {
  std::string bytes;
  append_frame(bytes, {.type = FrameType::kMessage, .flags = kLast, .payload = "hello"});
  append_frame(bytes,
               {.type = FrameType::kStreamData, .stream = 7, .payload = std::string(1000, 'x')});
  append_frame(bytes, {.type = FrameType::kHeartbeat});
  for (const size_t piece : {size_t{1}, size_t{5}, size_t{13}, bytes.size()}) {
    FrameReader reader;
    std::vector<std::pair<uint32_t, size_t>> seen;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      feed(reader, std::string_view(bytes).substr(at, piece));
      for (auto frame = reader.next(); frame && *frame; frame = reader.next())
        seen.emplace_back((*frame)->stream, (*frame)->payload.size());
    }
    EXPECT_EQ(seen, (std::vector<std::pair<uint32_t, size_t>>{{0, 5}, {7, 1000}, {0, 0}}));
  }
}

TEST(FrameReader, RefusesALyingLengthAndAnUnknownType) {
  FrameReader lying;
  feed(lying, std::string_view("\xff\xff\xff\xff\x03\0\0\0\0\0\0\0", 12));
  EXPECT_FALSE(lying.next());
  FrameReader unknown;
  feed(unknown, std::string_view("\0\0\0\0\x63\0\0\0\0\0\0\0", 12));
  EXPECT_FALSE(unknown.next());
}

TEST(ParsePeer, TakesHostsPortsAndBothKindsOfAddress) {
  const auto place = [](const std::string& text) {
    const auto peer = parse_peer(text, 1);
    return peer ? fmt::format("{} {}", peer->host, peer->port) : "error";
  };
  EXPECT_EQ(place("studio.local"), "studio.local 1");
  EXPECT_EQ(place("studio:99"), "studio 99");
  EXPECT_EQ(place("10.0.0.1:99"), "10.0.0.1 99");
  EXPECT_EQ(place("fd88::1"), "fd88::1 1");
  EXPECT_EQ(place("[fd88::1]"), "fd88::1 1");
  EXPECT_EQ(place("[fd88::1]:99"), "fd88::1 99");
  EXPECT_EQ(place("fe80::1%eth0"), "fe80::1%eth0 1");
  for (const char* wrong : {"", ":99", "studio:", "studio:0", "studio:65536", "studio:x", "[]:9"})
    EXPECT_EQ(place(wrong), "error") << wrong;
}

class CandidatesTest : public ::testing::Test {
 protected:
  void add(const std::string& host, Source source, const std::string& peer, int preference = 0) {
    candidates.add({.host = host,
                    .port = 1,
                    .source = source,
                    .peer = peer,
                    .preference = preference,
                    .next_try = now,
                    .forgotten_at = source == Source::kHeard ? now + seconds(10) : net::kNever});
  }
  std::vector<std::string> due() {
    taken = candidates.take_due(now, is_linked);
    std::vector<std::string> hosts;
    for (Candidate* candidate : taken) hosts.push_back(candidate->host);
    return hosts;
  }
  Candidate& only() { return *taken.at(0); }

  std::vector<Candidate*> taken;

  net::TimePoint now = net::TimePoint() + seconds(1000);
  std::vector<std::string> linked;
  Candidates::IsNeedless is_linked = [this](const Candidate& candidate) {
    return std::find(linked.begin(), linked.end(), candidate.peer) != linked.end();
  };
  Candidates candidates;
};

TEST_F(CandidatesTest, OfOnePeerTheBestPlaceIsTriedFirstAndTheOthersAfterIt) {
  add("wifi", Source::kHeard, "a", 6);
  add("cable", Source::kHeard, "a", 2);
  EXPECT_EQ(due(), std::vector<std::string>{"cable"});
  Candidate& cable = only();
  EXPECT_EQ(due(), std::vector<std::string>{});
  candidates.failed(cable, now, 0);
  EXPECT_EQ(due(), std::vector<std::string>{"wifi"});
}

TEST_F(CandidatesTest, ALinkedPeerIsLeftAloneUntilItsLinkIsLost) {
  add("host", Source::kConfigured, "");
  EXPECT_EQ(due(), std::vector<std::string>{"host"});
  candidates.succeeded(only(), "a");
  linked = {"a"};
  EXPECT_TRUE(due().empty());
  EXPECT_EQ(candidates.next_due(is_linked), net::kNever);
  linked.clear();
  EXPECT_EQ(due(), std::vector<std::string>{"host"});
}

TEST_F(CandidatesTest, RetriesSlowDownToABoundAndNeverEnd) {
  add("host", Source::kConfigured, "");
  net::Clock::duration longest{};
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(due().size(), 1u);
    candidates.failed(only(), now, 0.5);
    longest = std::max(longest, only().next_try - now);
    now = only().next_try;
  }
  EXPECT_EQ(longest, net::Clock::duration(Candidates::kLastRetry));
  candidates.retry("", now);
  EXPECT_EQ(due().size(), 1u);
}

TEST_F(CandidatesTest, WhatIsHeardNoLongerIsForgottenAndWhatWasConfiguredIsNot) {
  add("heard", Source::kHeard, "a");
  add("named", Source::kConfigured, "b");
  now += seconds(11);
  EXPECT_EQ(due(), std::vector<std::string>{"named"});
  EXPECT_EQ(candidates.all().size(), 1u);
}

TEST_F(CandidatesTest, ANumberOfPlacesIsTheMost) {
  for (size_t i = 0; i < Candidates::kMax + 10; ++i) add(std::to_string(i), Source::kHeard, "");
  EXPECT_EQ(candidates.all().size(), Candidates::kMax);
}

TEST(Refusals, TellWhoAndWhySinceWhenAndHowOften) {
  Refusals refusals;
  refusals.add("10.0.0.1", std::string(kOtherSecret), 1000);
  refusals.add("10.0.0.2", "it hung up", 1500);
  refusals.add("10.0.0.1", std::string(kOtherSecret), 2000);
  const std::vector<Refusal> all = refusals.all();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].address, "10.0.0.1") << "the latest first";
  EXPECT_EQ(all[0].first_unix_ms, 1000);
  EXPECT_EQ(all[0].last_unix_ms, 2000);
  EXPECT_EQ(all[0].times, 2u);
  EXPECT_NE(remedy_for(all[0]).find("secret set"), std::string::npos);
  EXPECT_EQ(remedy_for(all[1]), "");
  refusals.forget("10.0.0.1");
  EXPECT_EQ(refusals.all().size(), 1u);
}

TEST(Refusals, SayEachThingOnceAndInTheEndNothing) {
  Refusals refusals;
  EXPECT_TRUE(refusals.add("a", "why", 1));
  EXPECT_FALSE(refusals.add("a", "why", 1));
  EXPECT_TRUE(refusals.add("a", "other", 1));
  size_t said = 0;
  for (int i = 0; i < 10'000; ++i) said += refusals.add(std::to_string(i), "why", 1) ? 1 : 0;
  EXPECT_EQ(said, Refusals::kMaxKnown - 2);
}

TEST(RememberedPeers, KeepTheLatestAndSurviveABrokenFile) {
  const Folder folder;
  RememberedPeers peers(folder.path());
  for (size_t i = 0; i < RememberedPeers::kMax + 5; ++i)
    ASSERT_TRUE(
        peers.add({.id = std::to_string(i), .host = "host" + std::to_string(i), .port = 1}));
  const RememberedPeers again(folder.path());
  ASSERT_EQ(again.all().size(), RememberedPeers::kMax);
  EXPECT_EQ(again.all().front().id, std::to_string(RememberedPeers::kMax + 4));
  std::ofstream(folder.path() + "/peers.json") << "{\"peers\":[{\"port\":-1}]}";
  EXPECT_TRUE(RememberedPeers(folder.path()).all().empty());
}

TEST(Interfaces, NearIsWhatASubnetOrTheLinkReaches) {
  const auto ip = [](const char* text) { return boost::asio::ip::make_address(text); };
  const std::vector<Interface> interfaces = {
      {.name = "lo", .index = 1, .loopback = true, .addresses = {{ip("127.0.0.1"), 8}}},
      {.name = "eth0", .index = 2, .addresses = {{ip("10.1.2.3"), 20}, {ip("fd88::1"), 64}}}};
  const auto towards = [&](const char* text) {
    const Interface* interface = interface_towards(interfaces, ip(text));
    return interface == nullptr ? std::string() : interface->name;
  };
  EXPECT_EQ(towards("10.1.15.255"), "eth0");
  EXPECT_EQ(towards("::ffff:10.1.2.9"), "eth0");
  EXPECT_EQ(towards("10.1.16.1"), "");
  EXPECT_EQ(towards("fd88::9"), "eth0");
  EXPECT_EQ(towards("fd89::9"), "");
  EXPECT_EQ(towards("127.9.9.9"), "lo");
  EXPECT_EQ(towards("::1"), "lo");
  EXPECT_EQ(towards("fe80::1%2"), "eth0");
  EXPECT_EQ(towards("fe80::1%7"), "");
}

}  // namespace
}  // namespace cohort::mesh

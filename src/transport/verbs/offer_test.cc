#include "transport/verbs/offer.h"

#include <gtest/gtest.h>

#include "transport/verbs/verbs_rules.h"

namespace cohort::transport {
namespace {

RailAddress port(std::initializer_list<int> ipv4) {
  RailAddress address{.queue_pair = 17, .first_packet = 0xabcdef, .mtu_bytes = 1024};
  address.gid[10] = address.gid[11] = std::byte(0xff);
  size_t at = 12;
  for (int byte : ipv4) address.gid[at++] = static_cast<std::byte>(byte);
  return address;
}

TEST(Offer, SurvivesItsWay) {
  const Offer offer{.session = 99, .rails = 2, .ports = {port({10, 0, 0, 1}), port({10, 0, 1, 1})}};
  const auto read = Offer::decode(offer.encode());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->session, 99u);
  EXPECT_EQ(read->rails, 2u);
  ASSERT_EQ(read->ports.size(), 2u);
  EXPECT_EQ(read->ports[1].gid, offer.ports[1].gid);
  EXPECT_EQ(read->ports[1].first_packet, 0xabcdefu);
  EXPECT_EQ(read->ports[1].mtu_bytes, 1024);
}

TEST(Offer, UsualRulesAreNotTold) {
  const Offer offer{.rails = 4, .ports = {port({10, 0, 0, 1})}};
  EXPECT_EQ(offer.encode().size(), 8u + 36u) << "what older versions understand";
  EXPECT_EQ(Offer::decode(offer.encode())->frames, FrameRules());
}

TEST(Offer, OtherRulesFollowThePortsAndLeaveRoomForMore) {
  const Offer offer{.rails = 4,
                    .ports = {port({10, 0, 0, 1}), port({10, 0, 0, 2})},
                    .frames = {.frame_bytes = 4096, .window = 24}};
  std::string bytes = offer.encode();
  for (int i = 0; i < 100; ++i) {
    const auto read = Offer::decode(bytes);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->frames, offer.frames);
    EXPECT_EQ(read->rails, 4);
    ASSERT_EQ(read->ports.size(), 2u);
    bytes += 'x';  // of a later version
  }
}

TEST(Offer, RulesThatNobodyCanKeepAreRefused) {
  Offer offer{.ports = {port({10, 0, 0, 1})}, .frames = {.frame_bytes = 4096, .window = 24}};
  const std::string good = offer.encode();
  for (size_t size = 8; size < good.size(); ++size)
    EXPECT_FALSE(Offer::decode(std::string_view(good).substr(0, size))) << size;
  offer.frames.frame_bytes = 64;
  EXPECT_FALSE(Offer::decode(offer.encode()));
  offer.frames = {.frame_bytes = 4096, .window = 1};
  EXPECT_FALSE(Offer::decode(offer.encode()));
}

TEST(Offer, OfTwoRulesTheLesserHold) {
  const FrameRules apple = kAppleRules.frames, usual;
  EXPECT_EQ(common_rules(apple, usual), common_rules(usual, apple));
  EXPECT_EQ(common_rules(apple, usual).frame_bytes, 4096u);
  EXPECT_EQ(common_rules(apple, usual).window, 8u);
}

TEST(Offer, WhatIsNoOfferIsRefused) {
  const std::string good = Offer{.ports = {port({10, 0, 0, 1})}}.encode();
  for (size_t size = 0; size < good.size(); ++size) {
    if (size == 8) continue;  // one of no ports
    EXPECT_FALSE(Offer::decode(std::string_view(good).substr(0, size))) << size;
  }
  EXPECT_FALSE(Offer::decode(std::string(8 + 9 * 36, '\0'))) << "more ports than there may be";
  std::string odd = good;
  odd[8 + 12] = 3;  // a path of 1027 bytes
  EXPECT_FALSE(Offer::decode(odd));
  odd = good;
  odd[8 + 3] = 1;  // a queue pair's number of 25 bits
  EXPECT_FALSE(Offer::decode(odd));
}

TEST(Offer, PortsOfOneNetworkAreTriedFirst) {
  const Offer dialler{.ports = {port({192, 168, 1, 5}), port({169, 254, 3, 9})}};
  const Offer dialled{.ports = {port({169, 254, 8, 1}), port({192, 168, 1, 7})}};
  const std::vector<Match> matches = matches_of(dialler, dialled);
  ASSERT_EQ(matches.size(), 4u);
  EXPECT_EQ(matches[0].dialler, 0u);
  EXPECT_EQ(matches[0].dialled, 1u);
  EXPECT_EQ(matches[1].dialler, 1u);
  EXPECT_EQ(matches[1].dialled, 0u);
  EXPECT_TRUE(matches[0].shares_port(matches[2]));
  EXPECT_FALSE(matches[0].shares_port(matches[1]));
}

TEST(Offer, RailsOfALinkAreAlikeAndShareNoPort) {
  Offer dialler{.ports = {port({10, 0, 0, 1}), port({10, 0, 1, 1}), port({10, 0, 2, 1})}};
  Offer dialled{.ports = {port({10, 0, 0, 2}), port({10, 0, 1, 2}), port({10, 0, 2, 2})}};
  for (Offer* offer : {&dialler, &dialled}) {
    for (RailAddress& port : offer->ports) port.mbit_per_s = 25'000;
  }
  dialled.ports[2].mbit_per_s = 1'000;
  const Match first{0, 0};
  EXPECT_TRUE(is_rail_beside(dialler, dialled, first, {1, 1}));
  EXPECT_FALSE(is_rail_beside(dialler, dialled, first, {0, 1}));
  EXPECT_FALSE(is_rail_beside(dialler, dialled, first, {2, 2})) << "slower";
  EXPECT_FALSE(is_rail_beside(dialler, dialled, {2, 2}, {1, 1})) << "the first one is slower";
}

TEST(Offer, TooManyWaysAreCutOff) {
  Offer offer;
  for (int i = 0; i < 8; ++i) offer.ports.push_back(port({10, 0, 0, i}));
  EXPECT_EQ(matches_of(offer, offer).size(), 16u);
}

}  // namespace
}  // namespace cohort::transport

// The parts of a Mesh and how they hang together; for the files of mesh/ only. mesh.cc: its life and its interface;
// mesh_joining.cc: from a connection to a trusted peer; mesh_links.cc: the life of a link; mesh_needs.cc: which links
// there should be.
#pragma once

#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mesh/candidates.h"
#include "mesh/discovery.h"
#include "mesh/handshake.h"
#include "mesh/interfaces.h"
#include "mesh/link.h"
#include "mesh/listener.h"
#include "mesh/lookup.h"
#include "mesh/mesh.h"
#include "mesh/prober.h"
#include "mesh/refusals.h"
#include "mesh/remembered.h"
#include "mesh/secure_socket.h"

namespace cohort::mesh {

struct Mesh::State {
  // A connection that is not trusted yet; closed when its deadline passes.
  struct Attempt {
    Attempt(std::list<Attempt*>& list, tcp::socket& of, net::TimePoint until)
        : attempts(list), place(list.insert(list.end(), this)), socket(of), deadline(until) {}
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;
    ~Attempt() { attempts.erase(place); }

    std::list<Attempt*>& attempts;
    std::list<Attempt*>::iterator place;
    tcp::socket& socket;
    net::TimePoint deadline;
    std::string address;
  };

  // A link, and how good and how needed it is.
  struct Held {
    Link* link = nullptr;  // lives in the frame of keep_link()
    int preference = 0;    // of its path
    net::TimePoint needed_at;
  };
  // A link that gave way to a better path: it ends with its last stream.
  struct Retiring {
    Link* link = nullptr;
    net::TimePoint since;
  };

  State(net::Executor loop, MeshOptions given, MeshEvents to_tell)
      : executor(loop),
        options(std::move(given)),
        events(std::move(to_tell)),
        keys(derive_group_keys(options.cluster_namespace, options.secret)),
        contexts(keys),
        remembered(options.data_dir),
        lookups(loop),
        prober(loop, prober_events()),
        wake(loop),
        links_changed(loop),
        tasks(loop) {}

  Result<void> open();
  void start_discovery();
  void on_beacon(const Beacon& beacon, const address& from, bool is_new);
  net::Task<void> close();
  net::Task<void> tick_loop();
  void tick(net::TimePoint now);
  void scan(net::TimePoint now);
  int preference_of(const address& ip) const;
  bool is_better(const Candidate& candidate, const Held& held) const;
  bool is_needless(const Candidate& candidate) const;
  void end_unneeded(net::TimePoint now);
  net::Task<Result<Link*>> need_link(std::string peer, net::TimePoint deadline);
  void introduce(const std::string& peer, const std::vector<std::string>& hosts, uint16_t port);

  net::Task<void> accept_loop(tcp::acceptor& acceptor);
  void on_arrival(tcp::socket socket);
  net::Task<void> receive(tcp::socket socket, std::string address);
  net::Task<void> dial(Candidate& candidate);
  net::Task<Result<Hello>> connect_and_greet(SecureSocket& socket, const Candidate& candidate,
                                             bool replaces);
  net::Task<Result<void>> connect(tcp::socket& socket, std::string host, uint16_t port);
  net::Task<Result<Hello>> greet(SecureSocket& socket, Role role, bool replaces);
  Result<void> admit(const Hello& theirs, bool replaces);
  Result<void> check_reach(const std::string& address) const;
  net::Task<void> keep_link(SecureSocket socket, Hello theirs, Role role, bool replaces);
  void make_way(const std::string& peer, bool for_better_path);
  bool forget_link(const std::string& peer, const Link& link);
  void remember(const Peer& peer);
  std::string local_kind(tcp::socket& socket);
  ProberEvents prober_events();
  LinkEvents link_events(const std::string& peer);
  void report(const std::string& address, const Error& error);

  net::Executor executor;
  const MeshOptions options;
  MeshEvents events;
  const GroupKeys keys;
  SecureContexts contexts;
  Hello hello;  // ours
  ListeningPort listening;
  std::vector<Interface> interfaces;
  net::TimePoint next_scan;
  Candidates candidates;
  RememberedPeers remembered;
  std::optional<Discovery> discovery;
  Lookups lookups;
  Prober prober;
  Refusals refusals;
  std::list<Attempt*> arrivals, dials;  // they live in the frames of receive() and dial()
  std::set<std::string> claims;         // ids whose link we have agreed to and not yet made
  std::map<std::string, Held, std::less<>> links;
  std::vector<Retiring> retiring;
  std::set<std::string> dispensable;              // peers
  std::map<std::string, net::TimePoint> demands;  // peers that streams wait for, and until when
  bool closing = false;
  net::Notification wake;           // there is something for tick_loop()
  net::Notification links_changed;  // one has come or gone
  net::TaskGroup tasks;
};

std::string remote_address(tcp::socket& socket);  // numeric; "": it is not connected any more

}  // namespace cohort::mesh

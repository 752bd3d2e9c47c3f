#include <netinet/in.h>
#include <netinet/tcp.h>

#include "mesh/socket_options.h"

namespace cohort::mesh {

const TcpOption kDropUnanswered = {TCP_RXT_CONNDROPTIME,
                                   2};  // seconds of retransmitting without an acknowledgement

}  // namespace cohort::mesh

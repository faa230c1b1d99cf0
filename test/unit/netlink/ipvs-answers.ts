/**
 * What Linux 6.1 (x86-64) says about virtual and real servers, attribute by attribute as it was heard there; names after
 * linux/ip_vs.h. Lengths count the attribute's header; PAD fills what little space u64 numbers need none of here.
 */

const bytes = (...parts: readonly string[]): Uint8Array => new Uint8Array(Buffer.from(parts.join(''), 'hex'));

/** STATS: CONNS, INPKTS, OUTPKTS u32, INBYTES, OUTBYTES u64, CPS, INPPS, OUTPPS, INBPS, OUTBPS u32; all 0. */
const STATS_32 =
  '5c000a00' +
  '0800010000000000' +
  '0800020000000000' +
  '0800030000000000' +
  '0c0004000000000000000000' +
  '0c0005000000000000000000' +
  '0800060000000000' +
  '0800070000000000' +
  '0800080000000000' +
  '0800090000000000' +
  '08000a0000000000';

/** STATS64: the same, all u64. Connections 3, packets 5 and 4, bytes 2^40 + 6 and 7. */
const STATS_64 =
  '7c000c00' +
  '0c0001000300000000000000' +
  '0c0002000500000000000000' +
  '0c0003000400000000000000' +
  '0c0004000600000000010000' +
  '0c0005000700000000000000' +
  '0c0006000000000000000000' +
  '0c0007000000000000000000' +
  '0c0008000000000000000000' +
  '0c0009000000000000000000' +
  '0c000a000000000000000000';

export const STATISTICS = { connections: 3, packetsIn: 5, packetsOut: 4, bytesIn: 2 ** 40 + 6, bytesOut: 7 };

/** ipvsadm -A -t 10.96.0.10:53 -s rr -p 10800 -M 255.255.255.0 */
export const TCP_V4 = bytes(
  '01010000', // genlmsghdr: NEW_SERVICE, version 1
  '2c010100', // SERVICE
  '0600010002000000', // AF 2
  '0600020006000000', // PROTOCOL 6
  '140003000a60000a000000000000000000000000', // ADDR
  '0600040000350000', // PORT 53, network order
  '0700060072720000', // SCHED_NAME "rr"
  '0c00070003000000ffffffff', // FLAGS persistent, hashed; mask
  '08000800302a0000', // TIMEOUT 10800
  '08000900ffffff00', // NETMASK, network order
  STATS_32,
  STATS_64,
);

/** ipvsadm -A -u [fd00:10::a]:53 -s mh -b mh-port,mh-fallback -p 50 -M 64 */
export const UDP_V6 = bytes(
  '01010000',
  '2c010100',
  '060001000a000000', // AF 10
  '0600020011000000', // PROTOCOL 17
  '14000300fd00001000000000000000000000000a',
  '0600040000350000',
  '070006006d680000', // "mh"
  '0c0007001b000000ffffffff', // FLAGS sched-1, sched-2, persistent, hashed
  '0800080032000000', // TIMEOUT 50
  '0800090040000000', // NETMASK: prefix length 64, host order
  STATS_32,
  STATS_64,
);

/** ipvsadm -A -u 10.96.0.13:5060 -s rr -p 60 --pe sip -o, but not persistent any more: the time means nothing then. */
export const WITH_ENGINE = bytes(
  '01010000',
  '34010100',
  '0600010002000000',
  '0600020011000000',
  '140003000a60000d000000000000000000000000',
  '0600040013c40000',
  '0700060072720000',
  '08000b0073697000', // PE_NAME "sip"
  '0c00070006000000ffffffff', // FLAGS one-packet, hashed
  '080008003c000000',
  '08000900ffffffff',
  STATS_32,
  STATS_64,
);

/** ipvsadm -A -f 7 -s rr */
export const FWMARK = bytes(
  '01010000',
  '10010100',
  '0600010002000000',
  '0800050007000000', // FWMARK 7
  '0700060072720000',
  '0c00070002000000ffffffff',
  '0800080000000000',
  '08000900ffffffff',
  STATS_32,
  STATS_64,
);

/** ipvsadm -A -f 2147483656 -6 -s rr -p 60 -M 64 */
export const FWMARK_V6 = bytes(
  '01010000',
  '10010100',
  '060001000a000000',
  '0800050008000080', // FWMARK 2^31 + 8
  '0700060072720000',
  '0c00070003000000ffffffff',
  '080008003c000000',
  '0800090040000000',
  STATS_32,
  STATS_64,
);

/** AH: someone else's, of a protocol that we do not know. */
export const OTHER_PROTOCOL = bytes('01010000', '14000100', '0600010002000000', '0600020033000000');

/** ipvsadm -a -t 10.96.0.10:53 -r 10.244.1.5:5353 -m -w 7 -x 100 -y 50, with connections. */
export const REAL_V4 = bytes(
  '05010000', // genlmsghdr: NEW_DEST, version 1
  '50010200', // DEST
  '140001000af40105000000000000000000000000', // ADDR
  '0600020014e90000', // PORT 5353, network order
  '0800030000000000', // FWD_METHOD masquerade
  '0800040007000000', // WEIGHT
  '05000d0000000000', // TUN_TYPE u8
  '06000e0000000000', // TUN_PORT
  '06000f0000000000', // TUN_FLAGS
  '0800050064000000', // U_THRESH 100
  '0800060032000000', // L_THRESH 50
  '0800070002000000', // ACTIVE_CONNS 2
  '0800080001000100', // INACT_CONNS 65537
  '0800090009000000', // PERSIST_CONNS 9
  '06000b0002000000', // ADDR_FAMILY 2
  STATS_32,
  STATS_64,
);

/** ipvsadm -a -u [fd00:10::a]:53 -r [fd00:244::1]:53 -g -w 0; of Linux before 5.3, without the tunnel's attributes. */
export const REAL_V6 = bytes(
  '05010000',
  '38010200',
  '14000100fd000244000000000000000000000001',
  '0600020000350000',
  '0800030003000000', // FWD_METHOD direct
  '0800040000000000',
  '0800050000000000',
  '0800060000000000',
  '0800070000000000',
  '0800080000000000',
  '0800090000000000',
  '06000b000a000000', // ADDR_FAMILY 10
  STATS_32,
  STATS_64,
);

/** GET_CONFIG: TIMEOUT_TCP 900, TIMEOUT_TCP_FIN 120, TIMEOUT_UDP 300. */
export const CONFIG = bytes('0c010000', '0800040084030000', '0800050078000000', '080006002c010000');
/** GET_INFO: VERSION 1.2.1, CONN_TAB_SIZE 4096. */
export const INFO = bytes('0e010000', '0800010001020100', '0800020000100000');

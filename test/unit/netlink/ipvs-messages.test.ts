/** What is written for the family "IPVS" and what is read of it, byte by byte. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPVSStep } from '../../../core/ipvs.ts';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { createIPVSReader } from '../../../core/netlink/ipvs-objects.ts';
import { checkStep, stepObject, writeStep } from '../../../core/netlink/ipvs-protocol.ts';
import { createMessageWriter } from '../../../core/netlink/writer.ts';
import { seeded } from '../model/random.ts';
import { fault } from './fault.ts';
import * as heard from './ipvs-answers.ts';

/** What follows the message header, in hexadecimal. */
function written(step: IPVSStep): string {
  checkStep(step);
  const writer = createMessageWriter();
  writer.begin({ type: 0, flags: 0, sequence: 0 });
  writeStep(writer, step);
  writer.end();
  return Buffer.from(writer.bytes().subarray(16)).toString('hex');
}

const V4 = { protocol: 'TCP', ip: '10.96.0.10', port: 53 } as const;
const V6 = { protocol: 'UDP', ip: 'fd00:10::a', port: 8443 } as const;
const RR = { scheduler: 'rr', persistenceSeconds: 0 } as const;
const REAL = { ip: '10.244.1.5', port: 5353, weight: 1 } as const;

const requests = suite('requests to IPVS');

requests('a plain IPv4 virtual server is its address, scheduler, no flags, no time and a whole mask', () => {
  assert.is(
    written({ do: 'add virtual server', server: { ...V4, ...RR } }),
    '01010000' + // genlmsghdr: NEW_SERVICE, version 1
      '54000180' + // SERVICE, nested
      '0600010002000000' + // AF 2
      '0600020006000000' + // PROTOCOL 6
      '140003000a60000a000000000000000000000000' + // ADDR, 16 bytes
      '0600040000350000' + // PORT 53, network order
      '0700060072720000' + // SCHED_NAME "rr"
      '0c00070000000000fdffffff' + // FLAGS none, of all but "hashed" (2)
      '0800080000000000' + // TIMEOUT
      '08000900ffffffff', // NETMASK 255.255.255.255
  );
});

requests('a persistent IPv6 one has its prefix length in host order, and all its flags', () => {
  const server = {
    ...V6,
    scheduler: 'mh',
    persistenceSeconds: 10800,
    persistencePrefix: 64,
    hashPort: true,
    hashFallback: true,
    onePacket: true,
    persistenceEngine: 'sip',
  };
  assert.is(
    written({ do: 'set virtual server', server }),
    '02010000' + // SET_SERVICE
      '5c000180' +
      '060001000a000000' + // AF 10
      '0600020011000000' + // PROTOCOL 17
      '14000300fd00001000000000000000000000000a' +
      '0600040020fb0000' + // PORT 8443
      '070006006d680000' +
      '08000b0073697000' + // PE_NAME "sip"
      '0c0007001d000000fdffffff' + // FLAGS persistent 1, one-packet 4, sched-1 8, sched-2 16
      '08000800302a0000' + // TIMEOUT 10800
      '0800090040000000', // NETMASK 64
  );
});

requests('an IPv4 mask is in network order', () => {
  const masks = [1, 20, 32].map((persistencePrefix) =>
    written({ do: 'add virtual server', server: { ...V4, ...RR, persistencePrefix } }).slice(-8),
  );
  assert.equal(masks, ['80000000', 'fffff000', 'ffffffff']);
});

requests('a real server is named together with its virtual server, and has all that the kernel insists on', () => {
  const real = { ...REAL, weight: 7, upperThreshold: 100, lowerThreshold: 50 };
  assert.is(
    written({ do: 'add real server', server: V4, real }),
    '05010000' + // NEW_DEST
      '30000180' + // SERVICE: identity only
      '0600010002000000' +
      '0600020006000000' +
      '140003000a60000a000000000000000000000000' +
      '0600040000350000' +
      '48000280' + // DEST, nested
      '140001000af40105000000000000000000000000' + // ADDR
      '0600020014e90000' + // PORT 5353, network order
      '06000b0002000000' + // ADDR_FAMILY 2
      '0800030000000000' + // FWD_METHOD masquerade
      '0800040007000000' + // WEIGHT
      '0800050064000000' + // U_THRESH
      '0800060032000000', // L_THRESH
  );
  assert.is(written({ do: 'set real server', server: V4, real }).slice(0, 8), '06010000');
});

requests('direct and tunnelled forwarding have the numbers 3 and 2', () => {
  const method = (forwarding: 'direct' | 'tunnel') => {
    const text = written({ do: 'add real server', server: V4, real: { ...REAL, forwarding } });
    return text.slice(text.indexOf('08000300') + 8, text.indexOf('08000400'));
  };
  assert.equal([method('direct'), method('tunnel')], ['03000000', '02000000']);
});

requests('what is deleted is its identity alone', () => {
  const identity =
    '30000180' +
    '060001000a000000' +
    '0600020011000000' +
    '14000300fd00001000000000000000000000000a' +
    '0600040020fb0000';
  assert.is(written({ do: 'delete virtual server', server: V6 }), `03010000${identity}`);
  assert.is(
    written({ do: 'delete real server', server: V6, real: { ip: '10.1.2.3', port: 1 } }),
    `07010000${identity}` +
      '28000280' +
      '140001000a010203000000000000000000000000' +
      '0600020000010000' +
      '06000b0002000000',
  );
});

requests('one that a mark selects is family and mark, without protocol, address and port', () => {
  const marked = { mark: 0x8000000a, family: 'IPv6' } as const;
  assert.is(
    written({ do: 'add virtual server', server: { ...marked, ...RR } }),
    '01010000' +
      '38000180' +
      '060001000a000000' + // AF 10
      '080005000a000080' + // FWMARK, host order
      '0700060072720000' +
      '0c00070000000000fdffffff' +
      '0800080000000000' +
      '0800090080000000', // NETMASK: 128
  );
  const v4 = { mark: 7, family: 'IPv4' } as const;
  assert.match(
    written({ do: 'set virtual server', server: { ...v4, ...RR } }),
    /^02010000.*0600010002000000.*ffffffff$/,
  );
  const identity = '14000180' + '0600010002000000' + '0800050007000000';
  assert.is(written({ do: 'delete virtual server', server: v4 }), `03010000${identity}`);
  assert.match(written({ do: 'add real server', server: v4, real: REAL }), new RegExp(`^05010000${identity}48000280`));
});

requests('SCTP has protocol number 132', () => {
  assert.match(written({ do: 'delete virtual server', server: { ...V4, protocol: 'SCTP' } }), /0600020084000000/);
});

requests('what the kernel would cut or misunderstand is never written', () => {
  const server = { ...V4, ...RR };
  const bad: readonly [IPVSStep, RegExp][] = [
    [{ do: 'add virtual server', server: { ...server, ip: '10.96.0.256' } }, /not an IPv4 address: "10.96.0.256"/],
    [{ do: 'add virtual server', server: { ...server, ip: 'fd00::g' } }, /not an IPv6 address/],
    [{ do: 'add virtual server', server: { ...server, port: 65536 } }, /a port must be .* 0 to 65535, not 65536/],
    [{ do: 'add virtual server', server: { ...server, protocol: 'ICMP' as 'TCP' } }, /TCP, UDP or SCTP, not ICMP/],
    [{ do: 'add virtual server', server: { ...server, protocol: 'toString' as 'TCP' } }, /TCP, UDP or SCTP/],
    [{ do: 'add virtual server', server: { ...server, scheduler: '' } }, /scheduler has 1 to 15 bytes/],
    [{ do: 'add virtual server', server: { ...server, scheduler: 'x'.repeat(16) } }, /1 to 15 bytes/],
    [{ do: 'add virtual server', server: { ...server, persistenceEngine: 'a\0b' } }, /persistence engine/],
    [{ do: 'delete virtual server', server: { mark: 0, family: 'IPv4' } }, /a mark must be .* 1 to 4294967295, not 0/],
    [{ do: 'delete virtual server', server: { mark: 2 ** 32, family: 'IPv4' } }, /a mark/],
    [{ do: 'delete virtual server', server: { mark: 1, family: 'ip' as 'IPv4' } }, /IPv4 or IPv6, not ip/],
    [{ do: 'add virtual server', server: { mark: 1, family: 'IPv4', ...RR, persistencePrefix: 33 } }, /1 to 32/],
    [{ do: 'set virtual server', server: { ...server, persistenceSeconds: 2147484 } }, /0 to 2147483/],
    [{ do: 'set virtual server', server: { ...server, persistenceSeconds: 0.5 } }, /whole number/],
    [{ do: 'set virtual server', server: { ...server, persistencePrefix: 33 } }, /1 to 32/],
    [{ do: 'set virtual server', server: { ...server, persistencePrefix: 0 } }, /1 to 32/],
    [{ do: 'set virtual server', server: { ...V6, ...RR, persistencePrefix: 129 } }, /1 to 128/],
    [{ do: 'add real server', server: V4, real: { ...REAL, weight: -1 } }, /the weight must be .* 0 to 65535/],
    [{ do: 'add real server', server: V4, real: { ...REAL, weight: 65536 } }, /the weight/],
    [{ do: 'set real server', server: V4, real: { ...REAL, lowerThreshold: 1 } }, /must not exceed the upper one/],
    [{ do: 'set real server', server: V4, real: { ...REAL, forwarding: 'bypass' } }, /not bypass/],
    [{ do: 'delete real server', server: V4, real: { ip: '', port: 1 } }, /not an IPv4 address: ""/],
    [{ do: 'delete real server', server: V4, real: { ip: '10.0.0.1', port: Number.NaN } }, /not NaN/],
  ];
  for (const [step, words] of bad) {
    const error = fault(() => checkStep(step));
    assert.is(error.code, 'KP_NETLINK_INVALID');
    assert.match(error.message, words);
  }
});

requests('errors name what a step is about', () => {
  assert.is(stepObject({ do: 'delete virtual server', server: V6 }), 'UDP [fd00:10::a]:8443');
  assert.is(stepObject({ do: 'add real server', server: V4, real: REAL }), '10.244.1.5:5353 of TCP 10.96.0.10:53');
  assert.is(stepObject({ do: 'delete virtual server', server: { mark: 1234, family: 'IPv4' } }), 'FWM 1234');
  const server = { mark: 1234, family: 'IPv6' } as const;
  assert.is(stepObject({ do: 'add real server', server, real: REAL }), '10.244.1.5:5353 of FWM 1234 IPv6');
});

requests.run();

const answers = suite('answers of IPVS');
const attributes = (message: Uint8Array): Uint8Array => message.subarray(4);
const NONE = { hashPort: false, hashFallback: false, onePacket: false, persistenceEngine: '' };

answers('of virtual servers are read whole, in both families', () => {
  const reader = createIPVSReader();
  assert.equal(reader.virtualServer(attributes(heard.TCP_V4)), {
    ...V4,
    ...NONE,
    scheduler: 'rr',
    persistenceSeconds: 10800,
    persistencePrefix: 24,
    statistics: heard.STATISTICS,
  });
  assert.equal(reader.virtualServer(attributes(heard.UDP_V6)), {
    protocol: 'UDP',
    ip: 'fd00:10::a',
    port: 53,
    scheduler: 'mh',
    persistenceSeconds: 50,
    persistencePrefix: 64,
    hashPort: true,
    hashFallback: true,
    onePacket: false,
    persistenceEngine: '',
    statistics: heard.STATISTICS,
  });
});

answers('a time without the flag of persistence is none', () => {
  const server = createIPVSReader().virtualServer(attributes(heard.WITH_ENGINE));
  assert.is(server?.persistenceSeconds, 0);
  assert.is(server?.onePacket, true);
  assert.is(server?.persistenceEngine, 'sip');
});

answers('of virtual servers that a mark selects have mark and family, and no address', () => {
  const reader = createIPVSReader();
  const rr = { ...NONE, scheduler: 'rr', statistics: heard.STATISTICS };
  assert.equal(reader.virtualServer(attributes(heard.FWMARK)), {
    mark: 7,
    family: 'IPv4',
    ...rr,
    persistenceSeconds: 0,
    persistencePrefix: 32,
  });
  assert.equal(reader.virtualServer(attributes(heard.FWMARK_V6)), {
    mark: 0x80000008,
    family: 'IPv6',
    ...rr,
    persistenceSeconds: 60,
    persistencePrefix: 64,
  });
});

answers('virtual servers that we cannot name are left out', () => {
  const reader = createIPVSReader();
  assert.is(reader.virtualServer(attributes(heard.OTHER_PROTOCOL)), undefined);
});

answers('of real servers are read whole, whichever attributes a kernel adds', () => {
  const reader = createIPVSReader();
  assert.equal(reader.realServer(attributes(heard.REAL_V4)), {
    ip: '10.244.1.5',
    port: 5353,
    weight: 7,
    forwarding: 'masquerade',
    upperThreshold: 100,
    lowerThreshold: 50,
    activeConnections: 2,
    inactiveConnections: 65537,
    persistentConnections: 9,
    statistics: heard.STATISTICS,
  });
  const { ip, forwarding, weight } = reader.realServer(attributes(heard.REAL_V6));
  assert.equal([ip, forwarding, weight], ['fd00:244::1', 'direct', 0]);
});

answers('one does not leak into the next', () => {
  const reader = createIPVSReader();
  reader.virtualServer(attributes(heard.WITH_ENGINE));
  assert.is(reader.virtualServer(attributes(heard.TCP_V4))?.persistenceEngine, '');
  reader.virtualServer(attributes(heard.FWMARK));
  assert.ok(reader.virtualServer(attributes(heard.UDP_V6)));
});

answers('without what must be there are malformed, and the error says what is missing', () => {
  const reader = createIPVSReader();
  const without = (message: Uint8Array, attribute: string): Uint8Array => {
    // An attribute of a type that nobody knows stands in for it.
    const text = Buffer.from(attributes(message)).toString('hex');
    assert.ok(text.includes(attribute), attribute);
    return Buffer.from(text.replace(attribute, `${attribute.slice(0, 4)}ff00`), 'hex');
  };
  assert.match(
    fault(() => reader.virtualServer(without(heard.TCP_V4, '2c010100'))).message,
    /a virtual server is missing/,
  );
  assert.match(fault(() => reader.virtualServer(without(heard.TCP_V4, '14000300'))).message, /an address is missing/);
  assert.match(fault(() => reader.virtualServer(without(heard.TCP_V4, '7c000c00'))).message, /statistics is missing/);
  assert.match(fault(() => reader.virtualServer(without(heard.TCP_V4, '0c000700'))).message, /attribute 7 is missing/);
  assert.match(fault(() => reader.realServer(without(heard.REAL_V4, '50010200'))).message, /a real server is missing/);
  assert.match(fault(() => reader.realServer(without(heard.REAL_V4, '08000400'))).message, /attribute 4 is missing/);
  for (const act of [() => reader.virtualServer(new Uint8Array()), () => reader.realServer(new Uint8Array())]) {
    assert.is(fault(act).code, 'KP_NETLINK_MALFORMED');
  }
});

answers('with numbers of another size, or an unknown family or forwarding, are malformed', () => {
  const reader = createIPVSReader();
  const changed = (message: Uint8Array, from: string, to: string): Uint8Array => {
    const text = Buffer.from(attributes(message)).toString('hex');
    assert.ok(text.includes(from), from);
    return Buffer.from(text.replace(from, to), 'hex');
  };
  for (const [from, to] of [
    ['06000b0002000000', '06000b0003000000'], // family 3
    ['0800030000000000', '0800030005000000'], // forwarding 5
    ['0600020014e90000', '0500020014e90000'], // a port of one byte
    ['140001000af40105', '130001000af40105'], // an address of 15 bytes
  ] as const) {
    assert.is(fault(() => reader.realServer(changed(heard.REAL_V4, from, to))).code, 'KP_NETLINK_MALFORMED', from);
  }
  const odd = changed(heard.FWMARK, '0600010002000000', '0600010003000000');
  assert.match(fault(() => reader.virtualServer(odd)).message, /a mark of family 3/);
});

for (const seed of [1, 2, 3]) {
  answers(`that are damaged end with a typed error or a result (seed ${seed})`, () => {
    const random = seeded(seed).below;
    const reader = createIPVSReader();
    const seen = { error: 0, fine: 0 };
    const all = [heard.TCP_V4, heard.UDP_V6, heard.WITH_ENGINE, heard.FWMARK, heard.REAL_V4, heard.REAL_V6];
    for (let round = 0; round < 3000; round++) {
      const bytes = attributes(all[random(all.length)]!).slice();
      for (let changes = 1 + random(4); changes > 0; changes--) bytes[random(bytes.length)] = random(256);
      const kept = bytes.subarray(0, random(3) === 0 ? random(bytes.length + 1) : bytes.length);
      for (const read of [() => reader.virtualServer(kept), () => reader.realServer(kept)]) {
        try {
          read();
          seen.fine++;
        } catch (error) {
          if (!(error instanceof NetlinkError)) throw error;
          seen.error++;
        }
      }
    }
    assert.ok(seen.error > 100 && seen.fine > 100, JSON.stringify(seen));
  });
}

answers.run();

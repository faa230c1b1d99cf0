/**
 * The data plane as an operator looks at it, by the tools that he has: an excerpt with counters, and what is left of
 * it after a cleanup. Columns that say nothing (the same in every rule) are left out; nothing else is.
 */
import type { ServicePort } from '../core/backend.ts';
import type { World } from '../test/netns/world.ts';
import { NODE_NAME } from '../test/netns/world-topology.ts';
import { columnWidths, tableRow, WIDTH, wrap } from './demo-table.ts';

export interface Excerpt {
  /** The command that was run. */
  readonly command: string;
  readonly lines: readonly string[];
}

export interface BackendView {
  /** Debian packages with the programs that the backend, or a look at it, needs. */
  readonly packages: readonly string[];
  /** Where a connection to this service port's cluster IP goes, and how many were translated, if that is counted. */
  excerpt?(world: World, port: ServicePort): Promise<{ excerpts: readonly Excerpt[]; translated?: number }>;
}

/** A backend that is not listed runs in the demo all the same, without an excerpt. */
export const BACKEND_VIEWS: Readonly<Record<string, BackendView>> = {
  iptables: { packages: ['iptables'], excerpt: iptablesExcerpt },
  nftables: { packages: ['nftables'], excerpt: nftablesExcerpt },
};

/** The elements of the service port's cluster IP, and the chain that its class leads to. */
async function nftablesExcerpt(world: World, port: ServicePort) {
  const destination = `${port.clusterIP} . ${port.protocol.toLowerCase()} . ${port.port} `;
  const list = async (...what: readonly string[]): Promise<Excerpt> => {
    const args = ['list', what[0] ?? '', 'ip', 'kube-services', what[1] ?? ''];
    const { stdout } = await world.exec(NODE_NAME, 'nft', args);
    return { command: `nft ${args.join(' ')}`, lines: stdout.split('\n') };
  };
  const elements = async (map: string): Promise<Excerpt> => {
    const { command, lines } = await list('map', map);
    const own = lines.map((line) => /\S.*/.exec(line.replace(/^\s*elements = \{/, ''))?.[0] ?? '');
    return { command: `${command} | grep '${destination}'`, lines: own.filter((line) => line.startsWith(destination)) };
  };
  const services = await elements('services');
  const klass = Number(/: (0x[0-9a-f]+)/.exec(services.lines[0] ?? '')?.[1]);
  const { command, lines } = await list('chain', `lb-${klass}`);
  const rules = lines
    .filter((line) => line.startsWith('\t\t'))
    .flatMap((line) => wrap(line.trim(), { width: WIDTH - INDENT }));
  return { excerpts: [services, await elements('endpoints'), { command, lines: rules }] };
}

async function iptablesExcerpt(world: World, port: ServicePort) {
  const services = await listChain(world, 'KUBE-SERVICES');
  const entry = services.rules.find(({ destination, match }) => {
    return destination === port.clusterIP && match.includes(`dpt:${port.port}`);
  });
  if (entry === undefined) throw new Error(`chain KUBE-SERVICES has no rule for ${port.clusterIP}:${port.port}`);
  const chain = await listChain(world, entry.target);
  const translated = chain.rules.filter(({ target }) => target === 'DNAT').reduce((sum, { pkts }) => sum + pkts, 0);
  return { excerpts: [services.excerpt, chain.excerpt], translated };
}

interface Rule {
  readonly pkts: number;
  readonly target: string;
  readonly destination: string;
  readonly match: string;
}

/** Of `iptables -L -v`: pkts bytes target prot opt in out source destination, then the matches as text. */
const COLUMNS = 9;
const OFTEN_EMPTY = ['opt', 'in', 'out', 'source', 'destination'];
/** What a quotation is indented by. */
const INDENT = 4;
const EMPTY = ['--', '*', '0.0.0.0/0'];

async function listChain(world: World, name: string): Promise<{ excerpt: Excerpt; rules: readonly Rule[] }> {
  const args = ['-t', 'nat', '-L', name, '-n', '-v'];
  const { stdout } = await world.exec(NODE_NAME, 'iptables', args);
  const [title = '', ...table] = stdout.trimEnd().split('\n');
  const cells = table.map((line) => {
    const words = line.trim().split(/\s+/);
    return [...words.slice(0, COLUMNS), words.slice(COLUMNS).join(' ')];
  });
  const [header = [], ...rules] = cells;
  const shown = header
    .map((_, column) => column)
    .filter((column) => {
      const says = rules.some((rule) => !EMPTY.includes(rule[column] ?? ''));
      return !OFTEN_EMPTY.includes(header[column]!) || says;
    });
  const picked = cells.map((row) => shown.map((column) => row[column] ?? ''));
  return {
    excerpt: { command: `iptables ${args.join(' ')}`, lines: [title, ...layOut(picked)] },
    rules: rules.map((rule) => ({
      pkts: Number(rule[0]),
      target: rule[2] ?? '',
      destination: rule[COLUMNS - 1] ?? '',
      match: rule[COLUMNS] ?? '',
    })),
  };
}

/** Counters to the right, the rest to the left; where matches do not fit beside their rules, each goes below. */
function layOut(rows: readonly (readonly string[])[]): readonly string[] {
  const room = WIDTH - INDENT;
  const counters = columnWidths(rows.map((row) => row.slice(0, 2)));
  const aligned = rows.map((row) => row.map((cell, column) => cell.padStart(counters[column] ?? 0)));
  const widths = columnWidths(aligned.map((row) => row.slice(0, -1)));
  const beside = aligned.map((row) => tableRow(row, widths, (text) => text));
  if (beside.every((line) => line.length <= room)) return beside;
  const indent = ' '.repeat(counters.reduce((sum, width) => sum + width + 2, 0));
  return aligned.flatMap((row) => {
    const match = row.at(-1)!;
    const below = match === '' ? [] : wrap(match, { width: room - indent.length });
    return [tableRow(row.slice(0, -1), widths, (text) => text), ...below.map((line) => indent + line)];
  });
}

/** What a cleanup must not leave: rules and chains as iptables-save writes them, our nftables tables, IP sets. */
export async function footprint(world: World): Promise<readonly string[]> {
  const saved = await Promise.all(
    ['iptables-save', 'ip6tables-save'].map((command) => world.exec(NODE_NAME, command, [])),
  );
  const rules = saved.flatMap(({ stdout }) => stdout.split('\n').filter((line) => /^-A |^:\S+ - /.test(line)));
  const sets = await world.exec(NODE_NAME, process.execPath, ['--eval', LIST_SETS_AND_TABLES]);
  return [...rules.map((line) => line.replace(/ \[\d+:\d+\]$/, '')), ...sets.stdout.split('\n').filter(Boolean)];
}

/** Asked over netlink: neither ipset nor nft need be there. A kernel without IP sets holds none. */
const LIST_SETS_AND_TABLES = `
  import(${JSON.stringify(new URL('../core/netlink/ipset.ts', import.meta.url))}).then(({ openIPSets }) => {
    for (const name of openIPSets().names()) console.log('ipset ' + name);
  }).catch((error) => {
    if (!['KP_NETLINK_UNSUPPORTED', 'KP_NETLINK_UNAVAILABLE'].includes(error.code)) throw error;
  });
  import(${JSON.stringify(new URL('../core/netlink/nftables/kernel.ts', import.meta.url))}).then(async ({ openNftables }) => {
    const nftables = openNftables();
    for (const family of ['ip', 'ip6']) {
      for (const { name } of await nftables.tables(family)) {
        if (name.startsWith('kube-')) console.log('table ' + family + ' ' + name);
      }
    }
    nftables.close();
  });`;

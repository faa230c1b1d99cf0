/** The steps of a transaction on the fake's state, each refused as the kernel refuses it (measured on Linux 6.18). */
import { constants } from 'node:os';
import type { NftElement, NftFamily, NftHook, NftOperation, NftRule, NftSet } from '../../nftables.ts';
import { NetlinkError } from '../errors.ts';
import { checkSetUse, ruleReferences } from './fake-rules.ts';
import {
  createFakeSet,
  deleteElement,
  elementKey,
  elementTarget,
  type FakeChain,
  type FakeNftablesState,
  type FakeSet,
  type FakeTable,
  flushElements,
  insertElement,
  type Journal,
  overlaps,
  sameData,
} from './fake-state.ts';
import { commitRefusal } from './refusals.ts';
import { setFingerprint } from './sets.ts';

/** NFT_NAME_MAXLEN without the NUL; of tables, chains and sets alike. */
const LONGEST_NAME_BYTES = 255;
/** NF_IP_PRI_CONNTRACK: translation must come after. */
const CONNTRACK_PRIORITY = -200;

/** Where a step happens. */
export interface FakeScene {
  readonly state: FakeNftablesState;
  readonly family: NftFamily;
  readonly name: string;
  /** Port id of who commits. */
  readonly port: number;
  /** This kernel knows owned tables. */
  readonly ownership: boolean;
  readonly journal: Journal;
}

export function tableKey(family: NftFamily, table: string): string {
  return `${family} ${table}`;
}

/** @throws NetlinkError KP_NETLINK_REFUSED as the kernel, or KP_NETLINK_INVALID: a fault of the caller's. */
export function applyStep(scene: FakeScene, step: NftOperation): void {
  if (step.do === 'add table') {
    addTable(scene, step);
    return;
  }
  const table = scene.state.tables.get(tableKey(scene.family, scene.name));
  if (table === undefined) throw refusal('ENOENT', step, objectOf(step, tableKey(scene.family, scene.name)));
  checkOwner(scene, table, step);
  switch (step.do) {
    case 'delete table':
      remove(scene.state.tables, tableKey(scene.family, scene.name), scene.journal);
      break;
    case 'add chain':
      addChain(scene, table, step);
      break;
    case 'flush chain':
    case 'delete chain':
      removeChain(scene, table, step);
      break;
    case 'add rule':
      addRule(scene, table, step);
      break;
    case 'add set':
      addSet(scene, table, step);
      break;
    case 'flush set':
    case 'delete set':
      removeSet(scene, table, step);
      break;
    case 'add elements':
    case 'delete elements':
      changeElements(scene, table, step);
      break;
  }
}

function addTable({ state, family, name, port, ownership, journal }: FakeScene, step: Step<'add table'>): void {
  const key = tableKey(family, name);
  const table = state.tables.get(key);
  if (step.owned && !ownership) throw refusal('EOPNOTSUPP', step, key);
  if (table === undefined) {
    checkName(step, name);
    const made = { family, name, comment: step.comment ?? '', persists: step.owned, owner: step.owned ? port : 0 };
    insert(state.tables, key, { ...made, chains: new Map(), sets: new Map() }, journal);
    return;
  }
  if (table.owner !== 0 && table.owner !== port) throw refusal('EPERM', step, key);
  // Also of one that is ours: nobody may give up ownership but by ending.
  if (step.owned !== table.persists) throw refusal('EOPNOTSUPP', step, key);
  const before = table.owner;
  table.owner = step.owned ? port : 0;
  journal.push(() => {
    table.owner = before;
  });
}

function addChain({ journal }: FakeScene, table: FakeTable, step: Step<'add chain'>): void {
  const { name, hook } = step.chain;
  const existing = table.chains.get(name);
  if (existing !== undefined) {
    if (hook !== undefined && !sameHook(hook, existing.hook)) throw refusal('EOPNOTSUPP', step, name);
    return;
  }
  checkName(step, name);
  if (hook?.type === 'nat' && (hook.hook === 'forward' || hook.priority <= CONNTRACK_PRIORITY)) {
    throw refusal('EOPNOTSUPP', step, name);
  }
  insert(table.chains, name, { name, ...(hook && { hook }), rules: [], users: 0 }, journal);
}

function sameHook(one: NftHook, other: NftHook | undefined): boolean {
  return one.type === other?.type && one.hook === other.hook && one.priority === other.priority;
}

function addRule({ family, journal }: FakeScene, table: FakeTable, step: Step<'add rule'>): void {
  const chain = found(table.chains, step.chain, step);
  const { chains, sets } = ruleReferences(step.rule);
  for (const target of chains) checkTarget(table, target, step);
  for (const setUse of sets) checkSetUse(family, found(table.sets, setUse.name, step).set, setUse);
  setRules(chain, [...chain.rules, step.rule], journal);
  useAll(table, [step.rule], 1, journal);
}

/** Its rules go in both cases. */
function removeChain({ journal }: FakeScene, table: FakeTable, step: Step<'flush chain' | 'delete chain'>): void {
  const chain = found(table.chains, step.chain, step);
  useAll(table, chain.rules, -1, journal);
  setRules(chain, [], journal);
  if (step.do === 'flush chain') return;
  if (chain.users > 0) throw refusal('EBUSY', step, step.chain);
  remove(table.chains, step.chain, journal);
}

function setRules(chain: FakeChain, rules: readonly NftRule[], journal: Journal): void {
  const before = chain.rules;
  chain.rules = rules;
  journal.push(() => {
    chain.rules = before;
  });
}

function addSet({ journal }: FakeScene, table: FakeTable, step: Step<'add set'>): void {
  const { set } = step;
  const existing = table.sets.get(set.name);
  if (existing === undefined) {
    checkName(step, set.name);
    insert(table.sets, set.name, createFakeSet(set), journal);
  } else if (shape(existing.set) !== shape(set)) throw refusal('EEXIST', step, set.name);
}

/** Of two sets with the same one the kernel keeps the first, whatever size or comment the second has. */
function shape({ name, key, data, interval = false, dynamic = false }: NftSet): string {
  return setFingerprint({ name, key, interval, dynamic, ...(data !== undefined && { data }) });
}

/** Its elements go in both cases. */
function removeSet({ journal }: FakeScene, table: FakeTable, step: Step<'flush set' | 'delete set'>): void {
  const set = found(table.sets, step.set.name, step);
  if (step.do === 'delete set' && set.users > 0) throw refusal('EBUSY', step, step.set.name);
  for (const [chain, count] of set.targets) use(table.chains.get(chain), -count, journal);
  flushElements(set, journal);
  if (step.do === 'delete set') remove(table.sets, step.set.name, journal);
}

function changeElements(scene: FakeScene, table: FakeTable, step: ElementStep): void {
  const state = found(table.sets, step.set.name, step);
  if (shape(state.set) !== shape(step.set)) {
    const text = 'the set was declared with other types or flags';
    throw new NetlinkError({ code: 'KP_NETLINK_INVALID', operation: operationName(step), object: step.set.name, text });
  }
  const change = step.do === 'add elements' ? addElement : removeElement;
  for (const element of step.elements) change(scene, table, state, element, step);
}

function addElement(scene: FakeScene, table: FakeTable, state: FakeSet, element: NftElement, step: ElementStep): void {
  const key = elementKey(element);
  const object = elementObject(state.set, element);
  const { size = 0 } = state.set;
  const target = elementTarget(element);
  if (target !== undefined) checkTarget(table, target, step, element);
  const existing = state.elements.get(key);
  if (existing !== undefined) {
    if (!sameData(existing, element)) throw refusal('EEXIST', step, object);
    return;
  }
  if (overlaps(state, element)) throw refusal('EEXIST', step, object);
  if (size > 0 && state.elements.size >= size) throw refusal('ENFILE', step, object);
  insertElement(state, element, scene.journal);
  if (target !== undefined) use(table.chains.get(target), 1, scene.journal);
}

function removeElement(
  scene: FakeScene,
  table: FakeTable,
  state: FakeSet,
  element: NftElement,
  step: ElementStep,
): void {
  const existing = state.elements.get(elementKey(element));
  if (existing === undefined) throw refusal('ENOENT', step, elementObject(state.set, element));
  deleteElement(state, existing, scene.journal);
  const target = elementTarget(existing);
  if (target !== undefined) use(table.chains.get(target), -1, scene.journal);
}

function elementObject({ name, data }: NftSet, { key }: NftElement): string {
  return `${data === undefined ? 'set' : 'map'} ${name}, ${key.join(' . ')}`;
}

function checkTarget(table: FakeTable, target: string, step: NftOperation, element?: NftElement): void {
  const chain = table.chains.get(target);
  const object = element && 'set' in step ? elementObject(step.set, element) : objectOf(step, '');
  if (chain === undefined) throw refusal('ENOENT', step, object, `there is no chain ${target}`);
  // What the kernel calls by itself cannot be jumped to.
  if (chain.hook !== undefined) throw refusal('EOPNOTSUPP', step, object, `${target} has a hook`);
}

function useAll(table: FakeTable, rules: readonly NftRule[], by: number, journal: Journal): void {
  for (const rule of rules) {
    const { chains, sets } = ruleReferences(rule);
    for (const chain of chains) use(table.chains.get(chain), by, journal);
    for (const { name } of sets) use(table.sets.get(name), by, journal);
  }
}

function use(used: { users: number } | undefined, by: number, journal: Journal): void {
  if (used === undefined) return;
  used.users += by;
  journal.push(() => {
    used.users -= by;
  });
}

type Step<Name extends NftOperation['do']> = Extract<NftOperation, { do: Name }>;
type ElementStep = Extract<NftOperation, { elements: unknown }>;

function found<T>(objects: ReadonlyMap<string, T>, name: string, step: NftOperation): T {
  const object = objects.get(name);
  if (object === undefined) throw refusal('ENOENT', step, objectOf(step, name), `there is no ${name}`);
  return object;
}

function insert<T>(objects: Map<string, T>, name: string, object: T, journal: Journal): void {
  objects.set(name, object);
  journal.push(() => objects.delete(name));
}

/** Its reverse must put it back where it was, since order shows. */
function remove<T>(objects: Map<string, T>, name: string, journal: Journal): void {
  const before = [...objects];
  objects.delete(name);
  journal.push(() => {
    objects.clear();
    for (const [key, object] of before) objects.set(key, object);
  });
}

function checkOwner({ port, family, name }: FakeScene, table: FakeTable, step: NftOperation): void {
  if (table.owner !== 0 && table.owner !== port) throw refusal('EPERM', step, tableKey(family, name));
}

function checkName(step: NftOperation, name: string): void {
  if (Buffer.byteLength(name) > LONGEST_NAME_BYTES) throw refusal('ERANGE', step, name);
}

/** `detail`: what a test's author wants to know, and the kernel does not tell. */
export function refusal(
  errno: keyof typeof constants.errno,
  step: NftOperation,
  object: string,
  detail = '',
): NetlinkError {
  const { name, text, remedy } = commitRefusal(constants.errno[errno], step);
  return new NetlinkError({
    code: 'KP_NETLINK_REFUSED',
    operation: operationName(step),
    object,
    errno: name,
    text: [text, detail].filter(Boolean).join('; '),
    remedy,
  });
}

/** As errors of the real one name it; of elements the first. */
export function objectOf(step: NftOperation, table: string): string {
  if (step.do === 'add rule') return `to chain ${step.chain}${step.rule.comment ? `, "${step.rule.comment}"` : ''}`;
  if ('chain' in step) return typeof step.chain === 'string' ? step.chain : step.chain.name;
  if ('elements' in step) for (const element of step.elements) return elementObject(step.set, element);
  return 'set' in step ? step.set.name : table;
}

function operationName(step: NftOperation): string {
  return `nftables ${step.do.replace('elements', 'element')}`;
}

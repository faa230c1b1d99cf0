/** The manual page: complete, by the tables that it is made from, and right for whatever shows it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { manPage, presentFacts } from '../../build/man-page.ts';
import { ensurePackages } from '../../build/packages.ts';
import { COMMANDS } from '../../core/config/command-line.ts';
import { FIELD_LIST } from '../../core/config/fields.ts';
import type { Flag } from '../../core/config/flag.ts';
import { FLAG_LIST } from '../../core/config/flags.ts';
import { skip } from '../skip.ts';

const test = suite('man page');
const facts = presentFacts();
const page = manPage(facts);

const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-man-test-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const file = join(folder, 'kube-proxy.8');
writeFileSync(file, page);

test('it is pure ASCII with lines that begin with no request by accident, and the same each time', () => {
  assert.match(page, /^[\x20-\x7e\n]*$/);
  assert.is(manPage(presentFacts()), page);
  const requests = new Set([...page.matchAll(/^[.'](\S*)/gm)].map(([, name]) => name));
  const known = ['TH', 'SH', 'SS', 'TP', 'PP', 'RS', 'RE', 'B', 'I', 'BR', 'IR', 'RI', 'nf', 'fi', 'nh'];
  assert.equal(
    [...requests].filter((name) => !known.includes(name!)),
    [],
  );
});

test('it has the sections that readers of section 8 look for', () => {
  const sections = [...page.matchAll(/^\.SH (.*)$/gm)].map(([, title]) => title);
  const expected = ['NAME', 'SYNOPSIS', 'DESCRIPTION', 'COMMANDS', 'OPTIONS', 'BACKENDS', 'EXAMPLES', 'FILES'];
  assert.equal(sections, [...expected, 'SIGNALS', 'EXIT STATUS', 'ENVIRONMENT', 'NOTES', 'SEE ALSO']);
});

test('it says which fields --write-config-to leaves out, and what the backend iptables needs CAP_NET_RAW for', () => {
  const files = section('FILES');
  for (const [path, field] of FIELD_LIST) if (field.ours) assert.ok(files.includes(path), path);
  assert.match(section('NOTES'), 'the backend iptables also CAP_NET_RAW, for IP sets, and for the legacy variant');
});

test('text from the tables cannot become a request or an escape', () => {
  const flag: Flag<unknown> = {
    kind: { placeholder: 'A\\B', parse: () => ({ value: '', faults: [] }) },
    default: '',
    help: '.so /etc/passwd \'quoted\' "twice" back\\slash – and-more…',
    group: 'log',
  };
  const made = manPage({ ...facts, flags: [['strange', flag]] });
  assert.ok(
    made.includes(
      '\n\\fB\\-\\-strange\\fR \\fIA\\eB\\fR\n\\&.so /etc/passwd \\(aqquoted\\(aq \\(dqtwice\\(dq back\\eslash \\[u2013] and\\-more...\n',
    ),
    made,
  );
});

const noGroff = failure(() => ensurePackages(['groff-base']));
if (noGroff) skip('groff finds nothing wrong with it, and it says every flag, command and backend', noGroff);
else {
  test('groff finds nothing wrong with it, on terminals of any kind', () => {
    for (const device of ['utf8', 'ascii', 'latin1']) {
      const { status, stderr } = spawnSync('groff', ['-man', '-ww', '-z', `-T${device}`, file], { encoding: 'utf8' });
      assert.is(stderr, '', device);
      assert.is(status, 0);
    }
  });

  test('as it is shown, it has every flag with its explanation, every command and every backend', () => {
    const shown = render();
    for (const [name, { help, alias, noEffect }] of FLAG_LIST) {
      for (const each of [name, ...(alias ? [alias] : [])]) {
        assert.match(shown, new RegExp(`^ +(-\\w, )?(--[a-z-]+, )?--${each}\\b`, 'm'), each);
      }
      const plain = (text: string): string => text.replaceAll('…', '...').replace(/\s+/g, ' ');
      assert.ok(plain(shown).includes(plain(help)), `${name}: ${help}`);
      if (noEffect) assert.ok(plain(shown).includes(plain(noEffect)), name);
    }
    for (const command of COMMANDS) assert.match(shown, new RegExp(`^ +kube-proxy ${command}\\b`, 'm'), command);
    for (const { name, usage, example } of facts.topics.flatMap((topic) =>
      topic.examples.map(([command]) => ({ name: topic.usage, usage: topic.usage, example: command })),
    )) {
      assert.ok(shown.includes(usage), usage);
      assert.ok(shown.includes(example), `${name}: ${example}`);
    }
    for (const { name } of facts.backends) assert.match(shown, new RegExp(`^ +${name}( |$)`, 'm'), name);
  });
}

const noMan = spawnSync('man', ['--version']).status === 0 ? '' : 'there is no man(1)';
if (noMan) skip('man(1) shows it and finds its name', noMan);
else {
  test('man(1) shows it and finds its name', () => {
    const env = { ...process.env, LC_ALL: 'C.UTF-8', MANWIDTH: '80', MANPAGER: 'cat', MAN_KEEP_FORMATTING: '' };
    const { status, stdout, stderr } = spawnSync('man', ['--warnings=w', '-l', file], { encoding: 'utf8', env });
    assert.is(status, 0, stderr);
    assert.is(stderr, '');
    assert.match(stdout, /kube-proxy - the Kubernetes node proxy/);
    const lexgrog = spawnSync('lexgrog', [file], { encoding: 'utf8' });
    if (lexgrog.status !== null) assert.match(lexgrog.stdout, /kube-proxy - the Kubernetes node proxy/);
  });
}

test.run();

/** The words of one section, without fonts. */
function section(title: string): string {
  const [, text = ''] = page.split(`.SH ${title}\n`);
  return text
    .split('\n.SH ')[0]!
    .replace(/^\.(\w+ ?)/gm, '')
    .replace(/[\\"]/g, '')
    .replace(/\s+/g, ' ');
}

/** Wide, and with plain characters only. */
function render(): string {
  const words = ['-man', '-Tutf8', '-P-cbou', '-rLL=200n', file];
  const { stdout, stderr } = spawnSync('groff', words, { encoding: 'utf8' });
  assert.is(stderr, '');
  // U+2010 and U+2212 are what a hyphen and a minus may be set as.
  return stdout.replace(/[\u2010\u2212]/g, '-').replace(/[\u2018\u2019]/g, "'");
}

/** The message of what it throws; "" if it does not. */
function failure(action: () => void): string {
  try {
    action();
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

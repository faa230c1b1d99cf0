/**
 * Label and field selectors as a query string carries them: both grammars whole, and the server's refusals.
 *
 *   labels: app=web, app==web, app!=web, app in (a,b), app notin (a,b), app, !app, n>3, n<5, joined by commas
 *   fields: metadata.name=a,spec.type!=NodePort, with \\ \, \= escaped in values
 */

import { labelValue, qualifiedName } from './field-errors.ts';
import { badRequest } from './status.ts';

export interface Selector {
  readonly empty: boolean;
  matches(values: Readonly<Record<string, string>>): boolean;
  /** The value that this key must have, if the selector leaves it only one. */
  exact(key: string): string | undefined;
}

type Operator = '=' | '!=' | 'in' | 'notin' | 'exists' | '!' | '>' | '<';

interface Requirement {
  readonly key: string;
  readonly operator: Operator;
  readonly values: readonly string[];
}

export const EVERYTHING: Selector = { empty: true, matches: () => true, exact: () => undefined };

export function parseLabelSelector(text: string): Selector {
  const tokens = tokenize(text);
  if (tokens.length === 0) return EVERYTHING;
  const requirements: Requirement[] = [];
  let at = 0;
  const peek = (): string => tokens[at] ?? '';
  const next = (): string => tokens[at++] ?? '';
  for (;;) {
    requirements.push(parseRequirement(peek, next));
    const separator = next();
    if (separator === '') break;
    if (separator !== ',') throw refuse(`found '${separator}', expected: ',' or 'end of string'`);
    if (peek() === '') throw refuse("found '', expected: identifier after ','");
  }
  return selector(requirements);
}

/** `convert` gives the label as the storage knows it, or undefined when this kind cannot be selected by it. */
export function parseFieldSelector(
  text: string,
  convert: (label: string) => string | undefined,
  refusal: (label: string) => string,
): Selector {
  const requirements = splitTerms(text)
    .filter((term) => term !== '')
    .map((term): Requirement => {
      const found = splitTerm(term);
      if (found === undefined) {
        throw badRequest(`unable to parse field selector: invalid selector: '${text}'; can't understand '${term}'`);
      }
      const key = convert(found.key);
      if (key === undefined) throw badRequest(refusal(found.key));
      return { key, operator: found.operator, values: [unescape(found.value)] };
    });
  return requirements.length === 0 ? EVERYTHING : selector(requirements, true);
}

function selector(requirements: readonly Requirement[], fields = false): Selector {
  return {
    empty: false,
    matches: (values) => requirements.every((requirement) => satisfied(requirement, values, fields)),
    exact(key) {
      const found = requirements.find(
        ({ key: own, operator, values }) =>
          own === key && (operator === '=' || operator === 'in') && values.length === 1,
      );
      return found?.values[0];
    },
  };
}

function satisfied(
  { key, operator, values }: Requirement,
  labels: Readonly<Record<string, string>>,
  fields: boolean,
): boolean {
  // A field that an object does not have reads as ""; a label that it does not have is absent.
  const value = fields ? (labels[key] ?? '') : Object.hasOwn(labels, key) ? labels[key] : undefined;
  switch (operator) {
    case '=':
    case 'in':
      return value !== undefined && values.includes(value);
    case '!=':
    case 'notin':
      return value === undefined || !values.includes(value);
    case 'exists':
      return value !== undefined;
    case '!':
      return value === undefined;
    default: {
      if (value === undefined || !/^[-+]?\d+$/.test(value)) return false;
      return operator === '>' ? Number(value) > Number(values[0]) : Number(value) < Number(values[0]);
    }
  }
}

function tokenize(text: string): readonly string[] {
  return [...text.matchAll(/==|!=|[=!<>(),]|[^\s=!<>(),]+/g)].map(([token]) => token);
}

function isSymbol(token: string): boolean {
  return token === '' || /^(==|!=|[=!<>(),])$/.test(token);
}

function parseRequirement(peek: () => string, next: () => string): Requirement {
  const negated = peek() === '!';
  if (negated) next();
  const key = next();
  if (isSymbol(key)) throw refuse(`found '${key}', expected: !, identifier, or 'end of string'`);
  checkKey(key);
  if (negated) return { key, operator: '!', values: [] };
  const operator = peek();
  if (operator === '' || operator === ',') return { key, operator: 'exists', values: [] };
  next();
  switch (operator) {
    case '=':
    case '==':
    case '!=':
      return { key, operator: operator === '!=' ? '!=' : '=', values: [checkValue(key, readExact(peek, next))] };
    case '>':
    case '<': {
      const value = readExact(peek, next);
      if (!/^[-+]?\d+$/.test(value))
        throw refuse(
          `values[0][${key}]: Invalid value: "${value}": for 'Gt', 'Lt' operators, the value must be an integer`,
        );
      return { key, operator, values: [value] };
    }
    case 'in':
    case 'notin':
      return { key, operator, values: readSet(peek, next).map((value) => checkValue(key, value)) };
    default:
      throw refuse(`found '${operator}', expected: in, notin, =, ==, !=, gt, lt`);
  }
}

/** "app=" selects the empty value. */
function readExact(peek: () => string, next: () => string): string {
  if (peek() === '' || peek() === ',') return '';
  const value = next();
  if (isSymbol(value)) throw refuse(`found '${value}', expected: identifier`);
  return value;
}

function readSet(peek: () => string, next: () => string): readonly string[] {
  const open = next();
  if (open !== '(') throw refuse(`found '${open}' expected: '('`);
  const values: string[] = [];
  for (;;) {
    const token = next();
    if (token === ')') return values.length === 0 ? [''] : values;
    if (token === ',') {
      values.push('');
    } else if (isSymbol(token)) {
      throw refuse(`found '${token}', expected: ',', ')' or identifier`);
    } else {
      values.push(token);
      if (peek() === ',') {
        next();
        if (peek() === ')') values.push('');
      }
    }
  }
}

function checkKey(key: string): void {
  const [fault] = qualifiedName(key);
  if (fault !== undefined) throw refuse(`key: Invalid value: ${JSON.stringify(key)}: ${fault}`);
}

function checkValue(key: string, value: string): string {
  const [fault] = labelValue(value);
  if (fault !== undefined) throw refuse(`values[0][${key}]: Invalid value: ${JSON.stringify(value)}: ${fault}`);
  return value;
}

function refuse(what: string) {
  return badRequest(`unable to parse requirement: ${what}`);
}

/** At commas that no backslash escapes. */
function splitTerms(text: string): readonly string[] {
  const terms: string[] = [''];
  for (let index = 0; index < text.length; index++) {
    const character = text[index]!;
    if (character === '\\') terms[terms.length - 1] += character + (text[++index] ?? '');
    else if (character === ',') terms.push('');
    else terms[terms.length - 1] += character;
  }
  return terms;
}

function splitTerm(term: string): { key: string; operator: '=' | '!='; value: string } | undefined {
  const found = /^((?:\\.|[^\\=!]|!(?!=))*)(!=|==|=)(.*)$/s.exec(term);
  if (found === null) return undefined;
  return { key: found[1]!, operator: found[2] === '!=' ? '!=' : '=', value: found[3]! };
}

function unescape(value: string): string {
  if (/(^|[^\\])(\\\\)*[=]/.test(value)) throw badRequest(`invalid field selector: unescaped '=' in '${value}'`);
  return value.replaceAll(/\\(.?)/gs, (_, character: string) => {
    if (character === '\\' || character === ',' || character === '=') return character;
    throw badRequest(`invalid field selector: invalid escape sequence: \\${character}`);
  });
}

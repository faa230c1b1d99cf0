/** Registers scenes as tests; without openssl, which makes the certificates, they are left out and counted. */
import { suite, type Test } from 'uvu';
import { opensslProblem } from '../apiserver/certificates.ts';
import { skip } from '../skip.ts';

export interface FaultSuite {
  (title: string, play: () => Promise<void>): void;
  readonly run: Test['run'];
}

export function faultSuite(name: string): FaultSuite {
  const tests = suite(name);
  const problem = opensslProblem();
  const register = (title: string, play: () => Promise<void>): void => {
    if (problem === undefined) tests(title, play);
    else skip(title, problem);
  };
  return Object.assign(register, { run: tests.run });
}

/** The agent as a program, for worlds of tests that run from the sources. */
import { runAgent } from './agent.ts';

runAgent();

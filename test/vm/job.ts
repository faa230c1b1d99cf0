/** What every job of the virtual machine begins with: the environment of its programs. */
import { INSIDE } from './inside.ts';
import { NODE_OPTIONS } from './sources.ts';

/** How many times longer a test waits in there than outside. Everything takes 5 to 10 times as long. */
const SLOW = 6;

export const JOB_ENVIRONMENT = `export ${INSIDE}=1 KUBE_PROXY_TEST_SLOW=${SLOW} NODE_OPTIONS=${NODE_OPTIONS}\n`;

/** With a terminal of its own, on the serial line, so that Ctrl-C is for what runs in it. */
export const SHELL_JOB = `${JOB_ENVIRONMENT}setsid cttyhack bash </dev/ttyS0 >/dev/ttyS0 2>&1\n`;

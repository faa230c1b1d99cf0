#!/usr/bin/env node
import { main } from './cli/main.ts';
import { AGENT_WORD, pluginTestAgent } from './cli/plugin-test-agent.ts';

const words = process.argv.slice(2);
// No top-level await: the packed program is a CommonJS module, which has none.
if (words[0] === AGENT_WORD) void pluginTestAgent();
else {
  main(words).then(
    (status) => {
      // Output that could not be written has set its own.
      process.exitCode = status || process.exitCode;
    },
    (error) => {
      process.exitCode = 1;
      process.stderr.write(`kube-proxy: ${error instanceof Error ? error.stack : String(error)}\n`);
    },
  );
}

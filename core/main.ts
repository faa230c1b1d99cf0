#!/usr/bin/env node
import { main } from './cli/main.ts';
import { AGENT_WORD, pluginTestAgent } from './cli/plugin-test-agent.ts';

const words = process.argv.slice(2);
// No top-level await: the packed program is a CommonJS module, which has none.
if (words[0] === AGENT_WORD) void pluginTestAgent();
else {
  void main(words).then((status) => {
    process.exitCode = status;
  });
}

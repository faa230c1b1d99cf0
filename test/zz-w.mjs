import { spawn } from 'node:child_process';
const c = spawn(process.execPath, process.argv.slice(2), { stdio: ['ignore', 'pipe', 'inherit'] });
const t = performance.now(); let last = t;
c.stdout.on('data', (b) => { const n = performance.now(); console.log(`[${((n-t)/1000).toFixed(1)} +${((n-last)/1000).toFixed(1)}] ${b}`); last = n; });

/**
 * The parts of prom-client that are used, imported one by one: its entry point loads OpenTelemetry's API, too, which
 * costs 18 MB of resident memory and 40 ms at start for a feature that nothing here has.
 */
declare module 'prom-client/lib/registry.js' {
  export { Registry as default } from 'prom-client';
}
declare module 'prom-client/lib/counter.js' {
  export { Counter as default } from 'prom-client';
}
declare module 'prom-client/lib/gauge.js' {
  export { Gauge as default } from 'prom-client';
}
declare module 'prom-client/lib/histogram.js' {
  export { Histogram as default } from 'prom-client';
}

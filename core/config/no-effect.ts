/** Why some fields and flags, which are accepted because the reference has them, do nothing here. */
export const NO_EFFECT = {
  windows: 'it is for Windows',
  userspace: 'the userspace backend needs no range of ports',
  resync: 'what is known is compared with every complete state that comes, and nothing else can differ',
  json: 'requests are JSON, which every API server speaks',
  metrics: 'no metric is hidden',
  unbuffered: 'lines of the log are written at once',
  oneStream: 'the whole log goes to standard error',
  vmodule: 'there is one verbosity for the whole program, -v',
} as const;

/**
 * What the metrics server (:10249) answers. Everything below /debug/ exists only while profiling is on, and /flagz and
 * /statusz while their gates are; both may change while the server runs, so they are asked for at each request.
 */
import { type ConfigzFacts, configz } from './configz.ts';
import { profileRoutes } from './http-profile.ts';
import { type HttpReply, type HttpRequest, json, plain, type Route, type Routes, routeTable } from './http-reply.ts';
import type { Slis } from './slis.ts';
import { type FlagzFacts, flagz, type StatuszFacts, statusz } from './zpages.ts';

export interface MetricsRoutesOptions {
  readonly metrics: { text(): Promise<string>; readonly contentType: string };
  readonly slis: Slis;
  /** The backend's name. */
  readonly proxyMode: () => string;
  readonly configz: () => ConfigzFacts;
  /** Each undefined while its gate is off. */
  readonly flagz?: () => FlagzFacts | undefined;
  readonly statusz?: () => Omit<StatuszFacts, 'paths'> | undefined;
  /** /debug/pprof/ and /debug/flags/v. */
  readonly profiling: () => boolean;
  /** Other verbosity of the log, from now on. */
  readonly setVerbosity?: (level: number) => void;
}

const GET: readonly string[] = ['GET'];
/** Digits of a verbosity. */
const VERBOSITY_BYTES = 16;

export function metricsRoutes(options: MetricsRoutesOptions): Routes {
  const { metrics, slis } = options;
  const get = (handle: Route['handle']): Route => ({ methods: GET, handle });

  const always = {
    '/healthz': get(() => {
      // Says that this server answers, no more; whether the proxy is healthy is said on the health server.
      slis.observe({ name: 'ping', type: 'healthz', ok: true });
      return plain('ok');
    }),
    '/metrics': get(async () => ({ type: metrics.contentType, body: await metrics.text() })),
    '/metrics/slis': { methods: ['GET', 'DELETE'], handle: slisReply },
    '/proxyMode': get(() => plain(options.proxyMode())),
    '/configz': get(() => json(configz(options.configz()))),
  };
  const debug = {
    ...profileRoutes(),
    '/debug/flags/v': { methods: ['PUT'], bodyLimit: VERBOSITY_BYTES, handle: setVerbosity },
  };
  const fixed = routeTable(always);
  const profiling = routeTable(debug);

  async function slisReply({ method }: HttpRequest): Promise<HttpReply> {
    if (method !== 'DELETE') return { type: slis.contentType, body: await slis.text() };
    slis.reset();
    return plain('metrics reset\n');
  }

  async function setVerbosity(request: HttpRequest): Promise<HttpReply> {
    const text = (await request.body()).trim();
    if (!/^\d{1,3}$/.test(text)) return plain(`"${text}" is no verbosity: send a number from 0 on\n`, 400);
    options.setVerbosity?.(Number(text));
    return plain(`verbosity is now ${Number(text)}\n`);
  }

  return (path) => {
    const known = fixed(path);
    if (known) return known;
    if (path.startsWith('/debug/')) return options.profiling() ? profiling(path) : undefined;
    if (path === '/flagz') {
      const facts = options.flagz?.();
      return facts && get(() => plain(flagz(facts)));
    }
    if (path === '/statusz') {
      const facts = options.statusz?.();
      const paths = Object.keys(options.profiling() ? { ...always, ...debug } : always).sort();
      return facts && get(() => plain(statusz({ ...facts, paths })));
    }
    return undefined;
  };
}

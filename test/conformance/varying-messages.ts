/**
 * Messages of a log that are no constant sentences, found by two runs that differ in nothing but what they were given:
 * what came in both is constant; of what came in one only, texts that are alike but for numbers and names vary. Pure.
 */

/** The first two that differ in what varies only; undefined if there are none. `names`: of what was given. */
export function varyingMessages(
  runs: readonly [readonly string[], readonly string[]],
  names: readonly string[],
): readonly string[] | undefined {
  const [first, second] = runs.map((messages) => new Set(messages)) as [Set<string>, Set<string>];
  const all = [
    ...[...first].filter((message) => !second.has(message)),
    ...[...second].filter((message) => !first.has(message)),
  ];
  const shape = shaper(names);
  const groups = Map.groupBy(all, shape);
  return [...groups.values()].find((alike) => alike.length > 1)?.slice(0, 2);
}

/** The message with nothing in the places of names and numbers. */
function shaper(names: readonly string[]): (message: string) => string {
  // Longer ones first: a key holds the name of its Service.
  const known = [...new Set(names)].filter((name) => name !== '').sort((a, b) => b.length - a.length);
  return (message) => {
    let text = message;
    for (const name of known) text = text.replaceAll(name, '\0');
    return text.replace(/\d+(\.\d+)?/g, '\0').replace(/\0(\s*[,;]?\s*\0)*/g, '\0');
  };
}

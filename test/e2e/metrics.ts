/** The samples of a Prometheus page, by their name with labels. */
export async function metrics(adminUrl: string): Promise<Map<string, number>> {
  const page = await (await fetch(`${adminUrl}/metrics`)).text()
  const samples = page.split('\n').filter(line => line !== '' && !line.startsWith('#'))
  return new Map(
    samples.map(line => {
      const end = line.lastIndexOf(' ')
      return [line.slice(0, end), Number(line.slice(end + 1))]
    }),
  )
}

/** The sum of this metric over its labels, or of one sample where these are named too; 0 where there is none. */
export async function metric(adminUrl: string, name: string): Promise<number> {
  const samples = [...(await metrics(adminUrl))]
  return samples
    .filter(([sample]) => sample === name || sample.startsWith(`${name}{`))
    .reduce((sum, [, value]) => sum + value, 0)
}

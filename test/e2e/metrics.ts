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

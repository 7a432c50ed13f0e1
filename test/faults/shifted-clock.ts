import { readFileSync, renameSync, writeFileSync } from 'node:fs'

/*
 * Loaded before the service (`--import`): from then on its clocks are what the file named in the query says, which is
 * looked at all the time. A test cannot set the clock of the machine.
 */

/** How a clock goes on: at `real`, by the machine's, it shows `shown`, and from then on goes at `rate`. */
export interface Going {
  readonly real: number
  readonly shown: number
  readonly rate: number
}

const LOOK_MS = 5

export const shownBy = ({ real, shown, rate }: Going, now: number): number => shown + (now - real) * rate

const file = new URL(import.meta.url).searchParams.get('file')
if (file !== null) shift(file)

function shift(file: string): void {
  const realNow = Date.now
  const realMonotonic = performance.now.bind(performance)
  let said = ''
  let going: Going = { real: realNow(), shown: realNow(), rate: 1 }
  let monotonic: Going = { real: realMonotonic(), shown: realMonotonic(), rate: 1 }

  function look(): void {
    const says = readFileSync(file as string, 'utf8')
    if (says === said) return
    said = says
    going = JSON.parse(says)
    const real = realMonotonic()
    // It goes faster or slower with the other, but nobody can set it.
    monotonic = { real, shown: shownBy(monotonic, real), rate: going.rate }
    writeFileSync(`${file}.next`, says)
    renameSync(`${file}.next`, `${file}.shown`)
  }

  Date.now = () => Math.floor(shownBy(going, realNow()))
  performance.now = () => shownBy(monotonic, realMonotonic())
  globalThis.Date = new Proxy(Date, {
    construct: (date, args, self) => Reflect.construct(date, args.length === 0 ? [Date.now()] : args, self),
  })
  look()
  setInterval(look, LOOK_MS).unref()
}

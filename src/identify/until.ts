interface Waiter<Result> {
  resolve(value: Result): void
  reject(reason: unknown): void
}

/**
 * What `work` comes to, unless `signal` aborts before; then rejects with its reason. The work goes on, for
 * others or for nobody, and keeps nothing of who has stopped waiting: a request may be large, and many wait.
 */
export function until<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    const place: { waiter?: Waiter<Result> } = {
      waiter: {
        resolve(value) {
          signal.removeEventListener('abort', stop)
          resolve(value)
        },
        reject(reason) {
          signal.removeEventListener('abort', stop)
          reject(reason)
        },
      },
    }
    function stop(): void {
      delete place.waiter
      reject(signal.reason)
    }
    leaveWith(work, place)
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
}

/** Apart, since a closure holds all that its neighbours hold: these two have the place and nothing else. */
function leaveWith<Result>(work: Promise<Result>, place: { waiter?: Waiter<Result> }): void {
  work.then(
    value => place.waiter?.resolve(value),
    (reason: unknown) => place.waiter?.reject(reason),
  )
}

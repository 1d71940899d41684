// Package durable keeps promises: records that are made once, under an id, and completed once, and that outlive the
// process that made them. It follows the durable promise specification (its names of states, its idempotency keys, its
// table of answers).
//
//	store, err := durable.NewSQL(ctx, db)
//	…
//	_, err = store.Create(ctx, durable.CreateRequest{ID: "order/7", Key: "attempt-1", Timeout: time.Now().Add(time.Hour)})
//	…
//	answer, err := store.Resolve(ctx, durable.CompleteRequest{ID: "order/7", Value: durable.Value{Data: receipt}})
//
// # The rules
//
// Every request gets an Answer with the promise as it now stands, also when the request is refused.
//
//  1. A create makes the promise, if there is none of its id.
//  2. What does not exist cannot be completed: ErrNotFound.
//  3. Resolve, reject and cancel complete a promise that is pending.
//  4. A create of what exists changes nothing. It is a repetition if its key is the promise's CreateKey, and the promise
//     is pending or the request lenient; else it is refused: ErrConflict.
//  5. Resolve, reject and cancel of what is completed change nothing. They are a repetition if their key is the promise's
//     CompleteKey, and the promise is in the state that they ask for or the request is lenient; else they are refused:
//     ErrForbidden.
//  6. If the promise is timed out, whatever the key: a lenient request is a repetition, any other is refused.
//
// A request is strict unless it says Lenient, so that no error from Resolve means that the promise is resolved. A
// lenient request gets no error also where the promise is in another state, as a late Resolve of one that is timed out:
// who asks leniently must look at the answer's State.
//
// # Time
//
// Times are whole milliseconds, in UTC, by the clock of the process that does the operation, which looks at it once. A
// promise that is pending when its timeout comes is completed by that: nobody need be there at the time, and whichever
// operation sees the promise first writes it down, so that a process whose clock is behind cannot undo it. No operation
// shows a pending promise whose timeout has passed.
package durable

// Package durable keeps promises. A promise is a record that is made once, under an id, and completed once, and that
// outlives the process that made it. The package follows the durable promise specification: its names of states, its
// idempotency keys, its table of answers.
//
//	store, err := durable.NewSQL(ctx, db)
//	…
//	_, err = store.Create(ctx, durable.CreateRequest{ID: "order/7", Key: "attempt-1", Timeout: time.Now().Add(time.Hour)})
//	…
//	answer, err := store.Resolve(ctx, durable.CompleteRequest{ID: "order/7", Value: durable.Value{Data: receipt}})
//
// # The rules
//
// Every request gets an Answer with the promise as it stands then, even if the request is refused.
//
//  1. A create makes the promise, if there is none with its id.
//  2. A promise that does not exist cannot be completed: ErrNotFound.
//  3. Resolve, reject and cancel complete a promise that is pending.
//  4. A create of a promise that exists changes nothing. It is a repetition if its key is the promise's CreateKey, and the
//     promise is pending or the request lenient. Otherwise it is refused: ErrConflict.
//  5. Resolve, reject and cancel of a completed promise change nothing. They are a repetition if their key is the promise's
//     CompleteKey, and the promise is in the state that they ask for or the request is lenient. Otherwise they are refused:
//     ErrForbidden.
//  6. If the promise is timed out, the key does not matter: a lenient request is a repetition, any other is refused.
//
// A request is strict unless it says Lenient: if Resolve returns no error, the promise is resolved. A lenient request gets
// no error even if the promise is in another state, such as a late Resolve of a promise that is timed out. The caller must
// then look at the answer's State.
//
// # Time
//
// Times are whole milliseconds, in UTC, by the clock of the process that does the operation, which reads it once. When its
// timeout comes, a pending promise is completed by that, and no process need be there at the time. The first operation that
// sees the promise afterwards writes this down, so that a process whose clock is behind cannot undo it. No operation shows a
// pending promise whose timeout has passed.
package durable

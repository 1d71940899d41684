// A program with each option in its place, and with each option where it does not belong: the lines that say "refused" are the
// ones that the compiler must refuse.
package main

import (
	"database/sql"
	"database/sql/driver"

	"github.com/groupcommit/groupcommit"
)

var (
	db      *sql.DB
	plain   driver.Driver
	handler groupcommit.Handler[int, int]
)

func main() {
	groupcommit.Register("shared", plain, groupcommit.MaxLen(1), groupcommit.MaxQueue(1), groupcommit.MaxDelay(1),
		groupcommit.MaxTime(1), groupcommit.Retry(groupcommit.Never))
	groupcommit.Handle(db, handler, groupcommit.MaxLen(1), groupcommit.MaxQueue(1), groupcommit.MaxDelay(1),
		groupcommit.MaxTime(1), groupcommit.Retry(groupcommit.Never))

	groupcommit.Register("database's", plain, groupcommit.MaxBytes(1), groupcommit.Writers(1), groupcommit.LockTimeout(1),
		groupcommit.Mode(groupcommit.Transaction), groupcommit.Promises(), groupcommit.Retention(1), groupcommit.OnGroup(nil),
		groupcommit.Physical(1), groupcommit.Partition(nil), groupcommit.WithEngine(nil), groupcommit.ManyRows(false))
	groupcommit.Handle(db, handler, groupcommit.MaxBytes(1))                   // refused
	groupcommit.Handle(db, handler, groupcommit.Writers(1))                    // refused
	groupcommit.Handle(db, handler, groupcommit.LockTimeout(1))                // refused
	groupcommit.Handle(db, handler, groupcommit.Mode(groupcommit.Transaction)) // refused
	groupcommit.Handle(db, handler, groupcommit.Promises())                    // refused
	groupcommit.Handle(db, handler, groupcommit.Retention(1))                  // refused
	groupcommit.Handle(db, handler, groupcommit.OnGroup(nil))                  // refused
	groupcommit.Handle(db, handler, groupcommit.Physical(1))                   // refused
	groupcommit.Handle(db, handler, groupcommit.Partition(nil))                // refused
	groupcommit.Handle(db, handler, groupcommit.WithEngine(nil))               // refused
	groupcommit.Handle(db, handler, groupcommit.ManyRows(false))               // refused

	groupcommit.Handle(db, handler, groupcommit.Durable(), groupcommit.Kind("k"), groupcommit.Lease(1), groupcommit.Timeout(1),
		groupcommit.WithCodec(nil))
	groupcommit.Register("handler's", plain, groupcommit.Durable())      // refused
	groupcommit.Register("handler's", plain, groupcommit.Kind("k"))      // refused
	groupcommit.Register("handler's", plain, groupcommit.Lease(1))       // refused
	groupcommit.Register("handler's", plain, groupcommit.Timeout(1))     // refused
	groupcommit.Register("handler's", plain, groupcommit.WithCodec(nil)) // refused
	groupcommit.NewConnector(nil, groupcommit.Durable())                 // refused
}

package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/groupcommit/groupcommit/internal/behind"
)

// Which database stands behind a *sql.DB. The functions of this package have only that, and a wrapper may be between.

// databases are those that were found behind a wrapper; nil where the connections are not ours.
var databases behind.Memory[*database]

// lookFor bounds how long databaseOf waits for a connection to look at.
const lookFor = 10 * time.Second

// databaseOf finds the database behind a sql.DB of ours: by its connector, or else by one of its connections, once.
func databaseOf(ctx context.Context, db *sql.DB) (*database, error) {
	if db == nil {
		return nil, fmt.Errorf("groupcommit: the *sql.DB is nil")
	}
	if c, ok := behind.Connector[*Connector](db); ok {
		return c.db, nil
	}
	known, ok := databases.Get(db)
	if !ok || known != nil && known.isClosed() { // a new one may have been opened for the same name
		ctx, cancel := context.WithTimeout(ctx, lookFor)
		defer cancel()
		var found *database
		err := behind.Conn(ctx, db, func(c driver.Conn) {
			if own, err := ownOf(c); err == nil {
				found, _ = own.Host().(*database)
			}
		})
		switch {
		case err == nil:
			known = found
			databases.Put(db, known)
		case known == nil:
			return nil, fmt.Errorf("groupcommit: the database behind the *sql.DB with driver %T is found by one of its connections, and none was free or could be opened: %w", db.Driver(), err)
		}
	}
	if known == nil {
		return nil, fmt.Errorf("groupcommit: the *sql.DB has driver %T, which is not groupcommit's; open it with a name that was given to Register, or with NewConnector", db.Driver())
	}
	return known, nil
}

// keptFor is how long a database is kept when the last connection of [Driver.Open] is closed. A pool that keeps no idle
// connection soon opens the next, and what was learned of the database is not lost.
const keptFor = 5 * time.Second

// forsaken is called when the program has closed all connections, and with them the physical ones. It tells how long the database
// is kept. One that lives in its connection is gone then, as on the plain driver.
func (d *database) forsaken() time.Duration {
	if t := d.Traits.Load(); t == nil || t.OneConn {
		return 0
	}
	return keptFor
}

// askPools takes a connection of each sql.DB that is known to stand on d. One that is open has d in use by that.
func askPools(d *database) {
	databases.Each(func(db *sql.DB, of *database) {
		if of == d {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			behind.Conn(ctx, db, func(driver.Conn) {})
		}
	})
}

package programs

import (
	"context"
	"errors"
	"time"
)

// A User is a row that every library writes and reads. The database makes its key.
type User struct {
	ID      int64 `gorm:"primaryKey" bun:"id,pk,autoincrement"`
	Owner   int64
	Name    string // another one in each row
	Balance int64
	Born    time.Time
}

// A Store keeps users by a library, in the way in which the library's manual does it.
type Store interface {
	// Create inserts a user and learns its key.
	Create(ctx context.Context, u *User) error
	// CreateAll inserts several by one call of the library's.
	CreateAll(ctx context.Context, us []*User) error
	Find(ctx context.Context, id int64) (User, error)
	// Rename and Delete return the number of users that they met.
	Rename(ctx context.Context, id int64, name string) (int64, error)
	Delete(ctx context.Context, id int64) (int64, error)
	// Move is a transaction: it reads a balance, and takes from it what it adds to another. It ends with ErrPoor, and with a
	// rollback, where there is too little.
	Move(ctx context.Context, from, to, amount int64) error
}

// ErrPoor is the program's own error.
var ErrPoor = errors.New("the balance is too small")

// A Nester is a Store whose library nests transactions.
type Nester interface {
	// CreateNested inserts the first user in a transaction, and the second in one within it. An error of the second is dropped:
	// the first stays.
	CreateNested(ctx context.Context, first, second *User) error
}

// An Engine is a database and its two drivers.
type Engine string

const (
	SQLite   Engine = "sqlite3"
	Postgres Engine = "pgx"
)

// Schema makes the users' table.
func (e Engine) Schema() string {
	if e == SQLite {
		return `CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, owner BIGINT NOT NULL, name TEXT NOT NULL UNIQUE,
			balance BIGINT NOT NULL, born TIMESTAMP NOT NULL)`
	}
	return `CREATE TABLE users (id BIGSERIAL PRIMARY KEY, owner BIGINT NOT NULL, name TEXT NOT NULL UNIQUE,
		balance BIGINT NOT NULL, born TIMESTAMPTZ NOT NULL)`
}

package programs

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
)

// SQLC keeps users by code in the shape that sqlc generates: a constant for each query, and a Queries over what a *sql.DB
// and a *sql.Tx have in common. It is written by hand.
type SQLC struct {
	db *sql.DB
	*queries
}

func NewSQLC(e Engine, db *sql.DB) *SQLC { return &SQLC{db, &queries{db, e}} }

type dbtx interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	PrepareContext(context.Context, string) (*sql.Stmt, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

type queries struct {
	db     dbtx
	engine Engine
}

func (q *queries) withTx(tx *sql.Tx) *queries { return &queries{tx, q.engine} }

const createUser = `-- name: CreateUser :one
INSERT INTO users (owner, name, balance, born) VALUES (?, ?, ?, ?)
RETURNING id
`

const getUser = `-- name: GetUser :one
SELECT id, owner, name, balance, born FROM users WHERE id = ? LIMIT 1
`

const renameUser = `-- name: RenameUser :execrows
UPDATE users SET name = ? WHERE id = ?
`

const deleteUser = `-- name: DeleteUser :execrows
DELETE FROM users WHERE id = ?
`

const addBalance = `-- name: AddBalance :one
UPDATE users SET balance = balance + ? WHERE id = ?
RETURNING balance
`

// text is a query in the engine's words: sqlc generates for one database.
func (q *queries) text(query string) string {
	if q.engine == SQLite {
		return query
	}
	parts := strings.Split(query, "?")
	for i := range parts[1:] {
		parts[i] += "$" + strconv.Itoa(i+1)
	}
	return strings.Join(parts, "")
}

func (q *queries) Create(ctx context.Context, u *User) error {
	row := q.db.QueryRowContext(ctx, q.text(createUser), u.Owner, u.Name, u.Balance, u.Born)
	return row.Scan(&u.ID)
}

func (q *queries) Find(ctx context.Context, id int64) (User, error) {
	row := q.db.QueryRowContext(ctx, q.text(getUser), id)
	var i User
	err := row.Scan(&i.ID, &i.Owner, &i.Name, &i.Balance, &i.Born)
	return i, err
}

func (q *queries) Rename(ctx context.Context, id int64, name string) (int64, error) {
	return met(q.db.ExecContext(ctx, q.text(renameUser), name, id))
}

func (q *queries) Delete(ctx context.Context, id int64) (int64, error) {
	return met(q.db.ExecContext(ctx, q.text(deleteUser), id))
}

func (q *queries) addBalance(ctx context.Context, amount, id int64) (int64, error) {
	row := q.db.QueryRowContext(ctx, q.text(addBalance), amount, id)
	var balance int64
	err := row.Scan(&balance)
	return balance, err
}

// CreateAll prepares, as code that sqlc generates with emit_prepared_queries does.
func (s *SQLC) CreateAll(ctx context.Context, us []*User) error {
	return s.inTx(ctx, func(q *queries) error {
		st, err := q.db.PrepareContext(ctx, q.text(createUser))
		if err != nil {
			return err
		}
		defer st.Close()
		for _, u := range us {
			if err := st.QueryRowContext(ctx, u.Owner, u.Name, u.Balance, u.Born).Scan(&u.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *SQLC) Move(ctx context.Context, from, to, amount int64) error {
	return s.inTx(ctx, func(q *queries) error {
		u, err := q.Find(ctx, from)
		if err != nil {
			return err
		}
		if u.Balance < amount {
			return ErrPoor
		}
		if _, err := q.addBalance(ctx, -amount, from); err != nil {
			return err
		}
		_, err = q.addBalance(ctx, amount, to)
		return err
	})
}

func (s *SQLC) inTx(ctx context.Context, do func(*queries) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := do(s.withTx(tx)); err != nil {
		return err
	}
	return tx.Commit()
}

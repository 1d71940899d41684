package programs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/sqlgraph"
	"entgo.io/ent/schema/field"
)

// Ent keeps users by ent's sqlgraph, which is what a generated client calls: a client for one table is some thousand lines,
// and none of them reaches the database but by these functions. An update has a transaction of ent's own.
type Ent struct{ drv dialect.Driver }

func NewEnt(e Engine, db *sql.DB) *Ent {
	name := dialect.SQLite
	if e == Postgres {
		name = dialect.Postgres
	}
	return &Ent{entsql.OpenDB(name, db)}
}

var entColumns = []string{"id", "owner", "name", "balance", "born"}

func entID() *sqlgraph.FieldSpec { return sqlgraph.NewFieldSpec("id", field.TypeInt64) }

func entSpec(u *User) *sqlgraph.CreateSpec {
	spec := sqlgraph.NewCreateSpec("users", entID())
	spec.SetField("owner", field.TypeInt64, u.Owner)
	spec.SetField("name", field.TypeString, u.Name)
	spec.SetField("balance", field.TypeInt64, u.Balance)
	spec.SetField("born", field.TypeTime, u.Born)
	return spec
}

func (s *Ent) Create(ctx context.Context, u *User) error {
	spec := entSpec(u)
	if err := sqlgraph.CreateNode(ctx, s.drv, spec); err != nil {
		return entError(err)
	}
	u.ID = spec.ID.Value.(int64)
	return nil
}

func (s *Ent) CreateAll(ctx context.Context, us []*User) error {
	all := &sqlgraph.BatchCreateSpec{}
	for _, u := range us {
		all.Nodes = append(all.Nodes, entSpec(u))
	}
	if err := sqlgraph.BatchCreate(ctx, s.drv, all); err != nil {
		return entError(err)
	}
	for i, spec := range all.Nodes {
		us[i].ID = spec.ID.Value.(int64)
	}
	return nil
}

// entError is what a generated client makes of an error.
func entError(err error) error {
	if sqlgraph.IsConstraintError(err) {
		return fmt.Errorf("ent: constraint failed: %w", err)
	}
	return err
}

func (s *Ent) Find(ctx context.Context, id int64) (u User, err error) {
	spec := sqlgraph.NewQuerySpec("users", entColumns, entID())
	spec.Limit = 1
	spec.Predicate = entsql.FieldEQ("id", id)
	found := false
	spec.ScanValues = func([]string) ([]any, error) {
		return []any{new(sql.NullInt64), new(sql.NullInt64), new(sql.NullString), new(sql.NullInt64), new(sql.NullTime)}, nil
	}
	spec.Assign = func(_ []string, values []any) error {
		found = true
		u = User{values[0].(*sql.NullInt64).Int64, values[1].(*sql.NullInt64).Int64, values[2].(*sql.NullString).String,
			values[3].(*sql.NullInt64).Int64, values[4].(*sql.NullTime).Time}
		return nil
	}
	if err = sqlgraph.QueryNodes(ctx, s.drv, spec); err == nil && !found {
		err = errors.New("ent: user not found")
	}
	return u, err
}

func (s *Ent) Rename(ctx context.Context, id int64, name string) (int64, error) {
	return s.update(ctx, id, func(spec *sqlgraph.UpdateSpec) { spec.SetField("name", field.TypeString, name) })
}

func (s *Ent) update(ctx context.Context, id int64, set func(*sqlgraph.UpdateSpec)) (int64, error) {
	spec := sqlgraph.NewUpdateSpec("users", entColumns, entID())
	spec.Predicate = entsql.FieldEQ("id", id)
	set(spec)
	n, err := sqlgraph.UpdateNodes(ctx, s.drv, spec)
	if err != nil {
		err = entError(err)
	}
	return int64(n), err
}

func (s *Ent) Delete(ctx context.Context, id int64) (int64, error) {
	spec := sqlgraph.NewDeleteSpec("users", entID())
	spec.Predicate = entsql.FieldEQ("id", id)
	n, err := sqlgraph.DeleteNodes(ctx, s.drv, spec)
	return int64(n), err
}

func (s *Ent) Move(ctx context.Context, from, to, amount int64) error {
	tx, err := s.drv.Tx(ctx)
	if err != nil {
		return err
	}
	if err := (&Ent{entTx{tx, s.drv.Dialect()}}).move(ctx, from, to, amount); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (s *Ent) move(ctx context.Context, from, to, amount int64) error {
	u, err := s.Find(ctx, from)
	if err != nil {
		return err
	}
	if u.Balance < amount {
		return ErrPoor
	}
	add := func(n int64) func(*sqlgraph.UpdateSpec) {
		return func(spec *sqlgraph.UpdateSpec) { spec.AddField("balance", field.TypeInt64, n) }
	}
	if _, err := s.update(ctx, from, add(-amount)); err != nil {
		return err
	}
	_, err = s.update(ctx, to, add(amount))
	return err
}

// entTx is a transaction that passes for a driver, as the one of a generated client does: what begins in it is a part of it.
type entTx struct {
	dialect.ExecQuerier
	name string
}

func (t entTx) Tx(context.Context) (dialect.Tx, error) { return dialect.NopTx(t), nil }
func (t entTx) Dialect() string                        { return t.name }
func (t entTx) Close() error                           { return nil }

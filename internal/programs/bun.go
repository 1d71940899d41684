package programs

import (
	"context"
	"database/sql"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
)

// Bun keeps users by bun, which writes the values into the text of each statement.
type Bun struct{ db *bun.DB }

func NewBun(e Engine, db *sql.DB) *Bun {
	if e == SQLite {
		return &Bun{bun.NewDB(db, sqlitedialect.New())}
	}
	return &Bun{bun.NewDB(db, pgdialect.New())}
}

func (s *Bun) Create(ctx context.Context, u *User) error {
	_, err := s.db.NewInsert().Model(u).Exec(ctx)
	return err
}

func (s *Bun) CreateAll(ctx context.Context, us []*User) error {
	_, err := s.db.NewInsert().Model(&us).Exec(ctx)
	return err
}

func (s *Bun) Find(ctx context.Context, id int64) (u User, err error) {
	return u, s.db.NewSelect().Model(&u).Where("id = ?", id).Scan(ctx)
}

func (s *Bun) Rename(ctx context.Context, id int64, name string) (int64, error) {
	return met(s.db.NewUpdate().Model((*User)(nil)).Set("name = ?", name).Where("id = ?", id).Exec(ctx))
}

func (s *Bun) Delete(ctx context.Context, id int64) (int64, error) {
	return met(s.db.NewDelete().Model((*User)(nil)).Where("id = ?", id).Exec(ctx))
}

func met(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (s *Bun) Move(ctx context.Context, from, to, amount int64) error {
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		var u User
		if err := tx.NewSelect().Model(&u).Where("id = ?", from).Scan(ctx); err != nil {
			return err
		}
		if u.Balance < amount {
			return ErrPoor
		}
		if _, err := tx.NewUpdate().Model((*User)(nil)).Set("balance = balance - ?", amount).Where("id = ?", from).Exec(ctx); err != nil {
			return err
		}
		_, err := tx.NewUpdate().Model((*User)(nil)).Set("balance = balance + ?", amount).Where("id = ?", to).Exec(ctx)
		return err
	})
}

func (s *Bun) CreateNested(ctx context.Context, first, second *User) error {
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(first).Exec(ctx); err != nil {
			return err
		}
		_ = tx.RunInTx(ctx, nil, func(ctx context.Context, inner bun.Tx) error {
			_, err := inner.NewInsert().Model(second).Exec(ctx)
			return err
		})
		return nil
	})
}

package programs

import (
	"context"
	"database/sql"

	"gorm.io/driver/postgres"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// GORM keeps users by GORM, which has a transaction around each Create, Update and Delete unless it is told to skip it.
type GORM struct{ db *gorm.DB }

// OpenGORM opens a database as GORM's manual says, with another driver's name.
func OpenGORM(e Engine, driver, dsn string, skipTransaction bool) (*GORM, error) {
	if e == SQLite {
		return newGORM(&sqlite.Dialector{DriverName: driver, DSN: dsn}, skipTransaction)
	}
	return newGORM(postgres.New(postgres.Config{DriverName: driver, DSN: dsn}), skipTransaction)
}

// NewGORM takes a database that is open.
func NewGORM(e Engine, db *sql.DB, skipTransaction bool) (*GORM, error) {
	if e == SQLite {
		return newGORM(&sqlite.Dialector{Conn: db}, skipTransaction)
	}
	return newGORM(postgres.New(postgres.Config{Conn: db}), skipTransaction)
}

func newGORM(d gorm.Dialector, skipTransaction bool) (*GORM, error) {
	db, err := gorm.Open(d, &gorm.Config{SkipDefaultTransaction: skipTransaction, Logger: logger.Discard})
	return &GORM{db}, err
}

// DB is the database below.
func (s *GORM) DB() (*sql.DB, error) { return s.db.DB() }

func (s *GORM) Create(ctx context.Context, u *User) error {
	return s.db.WithContext(ctx).Create(u).Error
}

func (s *GORM) CreateAll(ctx context.Context, us []*User) error {
	return s.db.WithContext(ctx).Create(us).Error
}

func (s *GORM) Find(ctx context.Context, id int64) (u User, err error) {
	return u, s.db.WithContext(ctx).First(&u, id).Error
}

func (s *GORM) Rename(ctx context.Context, id int64, name string) (int64, error) {
	done := s.db.WithContext(ctx).Model(&User{}).Where("id = ?", id).Update("name", name)
	return done.RowsAffected, done.Error
}

func (s *GORM) Delete(ctx context.Context, id int64) (int64, error) {
	done := s.db.WithContext(ctx).Delete(&User{}, id)
	return done.RowsAffected, done.Error
}

func (s *GORM) Move(ctx context.Context, from, to, amount int64) error {
	return s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var u User
		if err := tx.First(&u, from).Error; err != nil {
			return err
		}
		if u.Balance < amount {
			return ErrPoor
		}
		if err := tx.Model(&User{}).Where("id = ?", from).Update("balance", gorm.Expr("balance - ?", amount)).Error; err != nil {
			return err
		}
		return tx.Model(&User{}).Where("id = ?", to).Update("balance", gorm.Expr("balance + ?", amount)).Error
	})
}

func (s *GORM) CreateNested(ctx context.Context, first, second *User) error {
	return s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(first).Error; err != nil {
			return err
		}
		_ = tx.Transaction(func(inner *gorm.DB) error { return inner.Create(second).Error })
		return nil
	})
}

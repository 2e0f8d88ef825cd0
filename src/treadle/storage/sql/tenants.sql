-- name: ensure_signing_key :one
-- The secret that signs tokens, made at the first start.
INSERT INTO treadle.signing_key (id, secret, created_at)
VALUES (1, $1::bytea, $2::timestamptz)
ON CONFLICT (id) DO UPDATE SET id = excluded.id
RETURNING secret;

-- name: ensure_tenant :one
-- The tenant with this name, made if it is new.
INSERT INTO treadle.tenant (public_id, name, created_at)
VALUES ($1::uuid, $2::text, $3::timestamptz)
ON CONFLICT (name) DO UPDATE SET name = excluded.name
RETURNING id, public_id;

-- name: insert_token :exec
-- Note a token that was issued; the token itself is not kept.
INSERT INTO treadle.api_token (token_id, tenant_id, name, created_at, expires_at)
VALUES ($1::uuid, $2::integer, $3::text, $4::timestamptz, $5::timestamptz);

-- name: find_token :one
-- The tenant that a token belongs to, unless it was revoked.
SELECT t.id, t.public_id
FROM treadle.api_token k
JOIN treadle.tenant t ON t.id = k.tenant_id
WHERE k.token_id = $1::uuid AND k.revoked_at IS NULL;

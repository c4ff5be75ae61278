-- The key that the secret of an alert's webhook is sealed with. One that was made before is not, until it is sealed anew.
ALTER TABLE alerts ADD COLUMN webhook_key TEXT;

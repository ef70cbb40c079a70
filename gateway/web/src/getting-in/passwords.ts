/* What a new password must be, as far as it can be said before the server is asked; it knows those from breaches too. */

export const PASSWORD_MIN = 10; // RegisterRequest.password, ResetPasswordRequest.new_password

export const PASSWORD_HINT = `At least ${PASSWORD_MIN} characters. A few words are better than one hard one.`;

export const tooShort = (password: string): string | undefined =>
  [...password].length < PASSWORD_MIN ? `Use at least ${PASSWORD_MIN} characters.` : undefined;

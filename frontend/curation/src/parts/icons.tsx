/** The mark of the page. */
export function Logo() {
  return (
    <svg className="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="6" />
      <path d="M9 8l13 8-13 8" />
    </svg>
  );
}

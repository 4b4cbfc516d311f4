"""The one way in: a draft from any dialect becomes a job."""

"""Small Streamlit functions that pages put together."""
